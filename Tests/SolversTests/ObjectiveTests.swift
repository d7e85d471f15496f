import AIPOFlowTesting
import AIPOKernels
import AIPOPriors
import AIPOProblems
import AIPOTestCases
import Testing

@testable import AIPOSolvers

/// Values and gradients of the objectives.
@Suite struct ObjectiveTests {
  private func gaussian(_ shape: ImageShape) throws -> GaussianPrior {
    try GaussianPrior(
      imageShape: shape, mean: randomVector(shape.count, seed: 51),
      covariance: try randomCovariance(shape.count, seed: 52))
  }

  @Test func gradientsByTaylorRemainder() throws {
    for shape in testShapes {
      let prior = WarpedGaussian.random(imageShape: shape, warp: 0.6, seed: 8)
      let gaussian = try gaussian(shape)
      for (name, map) in try allMaps(shape) {
        let y = randomVector(map.output.count, seed: 50)
        let data = try DataTerm(map, GaussianNoise(sigma: 0.2), y)
        let objectives: [any Objective] = [
          PixelObjective(data: data, prior: prior, gaussian: gaussian),
          LatentObjective(data: data, prior: prior, gaussian: gaussian),
          LatentObjective(data: data, prior: prior, gaussian: nil, regularizer: .base),
        ]
        for (k, objective) in objectives.enumerated() {
          for t in k == 2 ? [1] : [0, 0.4, 1] {
            let weights = ObjectiveWeights(lambda: 0.8, t: t)
            let point = randomVector(shape.count, seed: 53)
            let sample = try #require(try objective.sample(point, weights))
            let order = try taylorOrder(
              at: point, along: randomVector(shape.count, seed: 54), step: 3e-4,
              value: sample.value(weights), gradient: sample.gradient(weights)
            ) { try #require(try objective.sample($0, weights)).value(weights) }
            #expect(order >= 1.9, "\(k) \(name) \(shape) \(t) \(order)")
          }
        }
      }
    }
  }

  /// Both spaces give the same objective at the same image: the log-determinant is all there.
  @Test func latentObjectiveEqualsPixelObjective() throws {
    let shape = ImageShape(height: 3, width: 4, channels: 1)
    let prior = WarpedGaussian.random(imageShape: shape, warp: 0.5, seed: 9)
    let data = try DataTerm(IdentityMap(shape), GaussianNoise(sigma: 0.2), randomVector(12, seed: 50))
    let z = randomVector(12, seed: 60)
    let x = try prior.decode(z)
    let weights = ObjectiveWeights(lambda: 0.3)
    let pixel = PixelObjective(data: data, prior: prior, gaussian: nil)
    let latent = LatentObjective(data: data, prior: prior, gaussian: nil)
    let inX = try #require(try pixel.sample(x, weights))
    let inZ = try #require(try latent.sample(z, weights))
    #expect((inX.recon - inZ.recon).magnitude < 1e-9)
    #expect((inX.flow! - inZ.flow!).magnitude < 1e-9)
    #expect(distance(inZ.pixels.elements, x) < 1e-12)
    #expect(distance(try prior.encode(x), z) < 1e-9)
  }

  /// A sample's memory that was used for a point that isn't finite serves the next as new memory would.
  @Test func samplesAreUsedAgain() throws {
    let shape = ImageShape(height: 3, width: 4, channels: 1)
    let prior = WarpedGaussian.random(imageShape: shape, warp: 0.5, seed: 9)
    let data = try DataTerm(IdentityMap(shape), GaussianNoise(sigma: 0.2), randomVector(12, seed: 50))
    let evaluator = Evaluator(PixelObjective(data: data, prior: prior, gaussian: nil), Scratch())
    let weights = ObjectiveWeights(lambda: 1)
    let x = randomVector(12, seed: 61)
    func evaluate(_ x: [Double]) throws -> (value: Double, gradient: [Double])? {
      let sample = try evaluator.evaluate(weights) { $0.copy(from: x) }
      return sample.map { ($0.value(weights), $0.gradient(weights)) }
    }
    let first = try #require(try evaluate(x))
    var wild = x
    wild[3] = .nan
    #expect(try evaluate(wild) == nil)
    let kept = try #require(try evaluator.evaluate(weights) { $0.copy(from: x) })
    #expect(try evaluate(x.map { $0 + 1 }) != nil)
    #expect(kept.point.elements == x && kept.gradient(weights) == first.gradient)
    let second = try #require(try evaluate(x))
    #expect(first == second)
    #expect(evaluator.evaluations == 5)
  }

  @Test func shapesMustAgree() throws {
    let shape = ImageShape(height: 3, width: 4, channels: 1)
    let problem = try InverseProblem(
      IdentityMap(shape), GaussianNoise(sigma: 0.2), [randomVector(12, seed: 50)])
    let other = WarpedGaussian.random(
      imageShape: ImageShape(height: 4, width: 4, channels: 1), warp: 0, seed: 1)
    #expect(throws: SolverError.self) { try reconstruct(problem, other) }
    let prior = WarpedGaussian.random(imageShape: shape, warp: 0, seed: 1)
    #expect(throws: SolverError.self) { try reconstruct(problem, prior, try other.unwarped()) }
  }
}
