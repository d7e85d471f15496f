import AIPOFlows
import AIPOKernels
import AIPOPriors
import AIPOProblems
import AIPOTestCases
import CAIPOAllocationCounting
import Testing

#if DEBUG
  private let isOptimised = false
#else
  private let isOptimised = true
#endif

/// An evaluation after the first takes no memory: calls of malloc are counted. Without optimisation loops over arrays take
/// some.
@Suite(.enabled(if: isOptimised && allocation_counting_works() != 0)) struct AllocationTests {
  private let shape = ImageShape(height: 5, width: 3, channels: 3)

  /// The most calls in three evaluations after two first ones.
  private func calls(_ energy: any Energy, _ x: [Double]) throws -> Int {
    let scratch = Scratch()
    let gradient = try Tensor<Double>(count: energy.count)
    var most = 0
    try x.asVector { x in
      for round in 0..<5 {
        allocation_counting_start()
        _ = try energy.evaluate(x, gradient: gradient.view, scratch)
        _ = try energy.evaluate(x, gradient: nil, scratch)
        let count = allocation_counting_stop()
        if round > 1 { most = max(most, count) }
      }
    }
    return most
  }

  @Test func dataTermsTakeNoMemory() throws {
    let image = (0..<shape.count).map { 0.1 + 0.8 * Double(($0 * 7) % 10) / 9 }
    let h = Requantization(means: [0.03, 0.4, 0.7, 0.97], slopes: [0.2, 1, 0.5, 0.3])
    for (name, map) in try allMaps(shape) {
      for (law, noise) in try allNoises(map.output.count) {
        var random = Philox(seed: 80, purpose: .noise)
        let y = try noise.sample(prediction: map.apply(image), random: &random)
        let term = DataTerm(map: map, noise: noise, observation: try Tensor(y), encoding: h)
        #expect(try calls(term, image) == 0, "\(name), \(law)")
      }
    }
  }

  @Test func priorsTakeNoMemory() throws {
    for (name, prior) in try allPriors(shape) {
      let found = try calls(prior, randomVector(prior.count, seed: 3))
      #expect(found == 0, "\(name)")
    }
  }
}
