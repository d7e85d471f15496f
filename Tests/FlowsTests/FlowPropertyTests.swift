import AIPOFlowTesting
import AIPOFlows
import AIPOKernels
import Testing

/// Every property of a flow over the list of all flows.
@Suite struct FlowPropertyTests {
  @Test("double precision", arguments: FlowCase.all)
  func double(_ flow: FlowCase) throws {
    let checks = FlowChecks<Double> { try flow.make(Double.self, pool: $0) }
    for result in try checks.measure() { #expect(result.holds, "\(flow.name): \(result)") }
  }

  @Test("single precision", arguments: FlowCase.all)
  func single(_ flow: FlowCase) throws {
    var checks = FlowChecks<Float> { try flow.make(Float.self, pool: $0) }
    checks.bounds.roundTrip = flow.floatRoundTrip
    for result in try checks.measure() { #expect(result.holds, "\(flow.name): \(result)") }
  }

  /// What the checks of derivatives in double precision have shown holds for `Float` to its own precision.
  @Test("single against double precision", arguments: FlowCase.all)
  func singleAgainstDouble(_ flow: FlowCase) throws {
    let double = try flow.make(Double.self)
    let single = try flow.make(Float.self)
    try randomizeParameters(of: double, seed: 5)
    try single.setParameters(double.parameters.map { Float($0) })
    var random = Philox(seed: 6, purpose: .test)
    let x = try Tensor<Float>(
      shape: [2, flow.shape.height, flow.shape.width, flow.shape.channels],
      elements: (0..<2 * flow.shape.count).map { _ in Float(0.5 + 0.5 * random.normal()) })
    let exact = try double.evaluateWithGradient(try x.converted(to: Double.self))
    let rounded = try single.evaluateWithGradient(x)
    var gradient: [Double] = []
    var roundedGradient: [Float] = []
    _ = try double.trainingGradient(try x.converted(to: Double.self), gradient: &gradient)
    _ = try single.trainingGradient(x, gradient: &roundedGradient)
    #expect(distance(exact.logProb, rounded.logProb) < 1e-4)
    #expect(distance(exact.gradient.elements, rounded.gradient.elements.map { Double($0) }) < 1e-3)
    #expect(distance(gradient, roundedGradient.map { Double($0) }) < 1e-3)
  }

  private func distance(_ a: [Double], _ b: [Double]) -> Double {
    let scale = a.reduce(1) { max($0, $1.magnitude) }
    return zip(a, b).reduce(a.count == b.count ? 0 : .nan) { max($0, ($1.0 - $1.1).magnitude) } / scale
  }

  /// The checks must be able to fail: a layer whose derivative, or log-determinant, or inverse is wrong.
  @Test(arguments: Wrong.allCases)
  func wrongLayersAreFound(_ wrong: Wrong) throws {
    let checks = FlowChecks<Double> {
      try Flow(
        layers: [WrongLayer(.nothing), WrongLayer(wrong)],
        imageShape: ImageShape(height: 2, width: 2, channels: 2), pool: $0)
    }
    let results = try checks.measure()
    let broken = Set(results.filter { !$0.holds }.map(\.property))
    if wrong != .nothing { #expect(throws: CheckFailure.self) { try results.verify() } }
    switch wrong {
    case .nothing: #expect(broken.isEmpty, "\(broken)")
    case .inverse: #expect(broken.contains("decode after encode"))
    case .logDet: #expect(broken.contains("log-determinant against the dense Jacobian's"))
    case .cotangent: #expect(broken.contains("Jacobian against central differences"))
    case .parameterGradient:
      #expect(
        broken == [
          "Taylor order of the parameter gradient of the likelihood",
          "Taylor order of the parameter gradient through decode",
        ])
    case .restoring: #expect(broken == ["parameter gradient with inputs recomputed against kept"])
    case .batch: #expect(broken.contains("results that differ alone and in a batch"))
    }
  }

  enum Wrong: CaseIterable { case nothing, inverse, logDet, cotangent, parameterGradient, restoring, batch }

  /// `y = (1 + a²)x` with one mistake.
  private final class WrongLayer: FlowLayer {
    typealias Scalar = Double
    private let wrong: Wrong
    private let a = LayerParameter<Double>("a", shape: [1]) { _ in [0.5] }

    init(_ wrong: Wrong) { self.wrong = wrong }

    var parameters: [LayerParameter<Double>] { [a] }

    private var factor: Double { 1 + a.values[0] * a.values[0] }
    private func logDet(_ pass: FlowPass<Double>) -> Double {
      Double(pass.shape.count) * log1pOf(a.values[0] * a.values[0]) * (wrong == .logDet ? 1.001 : 1)
    }
    private func log1pOf(_ x: Double) -> Double {
      // log(1 + x) = 2 atanh(x / (2 + x)), by its series: no import for one logarithm.
      let s = x / (2 + x)
      var (sum, power) = (0.0, s)
      for k in 0..<200 {
        sum += power / Double(2 * k + 1)
        power *= s * s
      }
      return 2 * sum
    }

    private func scale(_ memory: Memory<Double>, _ factor: Double) {
      for k in 0..<memory.count { memory[k] *= factor }
    }

    func forward(_ pass: FlowPass<Double>) throws {
      scale(pass.values, factor)
      if wrong == .batch, pass.count > 1 { pass.values[0] = pass.values[0].nextUp }
      pass.addLogDet(logDet(pass))
    }

    func inverse(_ pass: FlowPass<Double>) throws {
      scale(pass.values, (wrong == .inverse ? 1 + 1e-9 : 1) / factor)
      pass.addLogDet(-logDet(pass))
    }

    private func accumulate(_ pass: FlowPass<Double>, input: Memory<Double>, sign: Double, inner: Double) {
      guard pass.wantsParameterGradients else { return }
      let slope = 2 * a.values[0]
      let value = Kernel.dot(input, pass.cotangent) * inner
      let fromLogDet =
        sign * pass.logDetCotangentSum * Double(pass.shape.count) / factor * (wrong == .logDet ? 1.001 : 1)
      a.gradient[0] += slope * (value + fromLogDet) * (wrong == .parameterGradient ? 1.01 : 1)
    }

    func forwardVJP(_ pass: FlowPass<Double>) throws {
      scale(pass.values, 1 / factor)
      accumulate(pass, input: pass.values, sign: 1, inner: 1)
      scale(pass.cotangent, factor * (wrong == .cotangent ? 1.001 : 1))
      if wrong == .restoring { scale(pass.values, 1.001) }
    }

    func inverseVJP(_ pass: FlowPass<Double>) throws {
      accumulate(pass, input: pass.values, sign: -1, inner: -1 / factor)
      scale(pass.values, factor)
      scale(pass.cotangent, 1 / factor)
    }
  }
}
