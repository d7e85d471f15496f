import AIPOKernels
import AIPOPlatform

/// An actnorm in a flow as data.
struct ActnormKind: LayerKind {
  static let name = "actnorm"
  static let plain: Self? = Self()
  var reach: Int? { 0 }

  func makeLayer<Scalar: KernelScalar>(
    for input: ImageShape, in flow: FlowSpec, _: Scalar.Type
  ) -> any FlowLayer<Scalar> { Actnorm<Scalar>(channels: input.channels) }
}

extension ActnormKind {
  init(from decoder: any Decoder) throws { _ = try KnownKeys(decoder, []) }
}

/// A scale and a shift per channel: `y = (x + b)·e^s`, log-det `h·w·Σs`.
///
/// Data-dependent initialisation gives the first batch zero mean and unit variance a channel.
/// Source: D. P. Kingma, P. Dhariwal, *Glow*, NeurIPS 2018, §3.1.
public final class Actnorm<Scalar: KernelScalar>: FlowLayer, KeepingLayer {
  let bias: LayerParameter<Scalar>
  let logScale: LayerParameter<Scalar>
  private let initialized: LayerParameter<Scalar>
  private let dataDependent: Bool
  /// Sums for the gradients of bias and log-scale, and of the log-determinant's cotangent.
  private var sums: Storage<Double>?
  /// Pixels of the images whose gradients are summed.
  private var pixels = 0

  /// Without `dataDependent` it starts as the identity.
  public init(channels: Int, dataDependent: Bool = true) {
    let zeros = { (_: inout Philox) in [Double](repeating: 0, count: channels) }
    bias = LayerParameter("bias", shape: [channels], initial: zeros)
    logScale = LayerParameter("log_scale", shape: [channels], initial: zeros)
    initialized = LayerParameter("initialized", shape: [1], isTrainable: false) { _ in [dataDependent ? 0 : 1]
    }
    self.dataDependent = dataDependent
  }

  public var parameters: [LayerParameter<Scalar>] {
    dataDependent ? [bias, logScale, initialized] : [bias, logScale]
  }

  func keptCount(_ kept: GradientMemory.Kept, input: ImageShape, parameterGradients: Bool) -> Int {
    parameterGradients ? input.count : 0
  }

  public func output(for input: ImageShape) -> ImageShape {
    precondition(input.channels == bias.count)
    return input
  }

  /// `Σs`
  var logScaleSum: Double {
    var sum = 0.0
    for k in 0..<logScale.count { sum += Double(logScale.values[k]) }
    return sum
  }

  public func initialize(_ pass: FlowPass<Scalar>) throws {
    guard dataDependent, initialized.values[0] == 0 else { return }
    let (mean, variance) = Kernel.moments(pass.values, channels: bias.count)
    guard (mean + variance).allSatisfy(\.isFinite) else {
      throw FlowError.unusableParameters(
        name: bias.name, reason: "the batch that should initialise it is empty or not finite")
    }
    for c in 0..<bias.count {
      bias.values[c] = Scalar(-mean[c])
      logScale.values[c] = Scalar(-log(max(variance[c].squareRoot(), 1e-6)))
    }
    initialized.values[0] = 1
  }

  public func forward(_ pass: FlowPass<Scalar>) throws {
    try apply(.forward, pass.values, pass)
    if pass.kept != .nothing, pass.wantsParameterGradients { try pass.keep(pass.values) }
  }

  public func inverse(_ pass: FlowPass<Scalar>) throws { try apply(.inverse, pass.values, pass) }

  public func forwardVJP(_ pass: FlowPass<Scalar>) throws { try back(.forward, pass) }
  public func inverseVJP(_ pass: FlowPass<Scalar>) throws { try back(.inverse, pass) }

  private func back(_ direction: Kernel<Scalar>.Direction, _ pass: FlowPass<Scalar>) throws {
    var values: Memory<Scalar>?
    if pass.carriesValues {
      values = pass.values
    } else if pass.wantsParameterGradients {
      values = pass.recall()
    }
    try back(direction, values, cotangent: pass.cotangent, pass)
  }

  /// One direction for values anywhere, log-determinant included.
  func apply(_ direction: Kernel<Scalar>.Direction, _ values: Memory<Scalar>, _ pass: FlowPass<Scalar>) throws
  {
    let c = bias.count
    try pass.split(values.count / c, minimum: 16384 / c) { range in
      Kernel.actnorm(
        values[range.lowerBound * c..<range.upperBound * c], direction, bias: bias.values,
        logScale: logScale.values)
    }
    let pixels = values.count / (c * max(pass.count, 1))
    pass.addLogDet(ofPixel: direction == .inverse ? -logScaleSum : logScaleSum, pixels: pixels)
  }

  /// Back through one direction, for its output anywhere.
  func back(
    _ direction: Kernel<Scalar>.Direction, _ values: Memory<Scalar>?, cotangent: Memory<Scalar>,
    _ pass: FlowPass<Scalar>
  ) throws {
    let c = bias.count
    guard pass.wantsParameterGradients else {
      try pass.split(cotangent.count / c, minimum: 8192 / c) { range in
        let range = range.lowerBound * c..<range.upperBound * c
        Kernel.actnormVJP(
          values?[range], cotangent: cotangent[range], direction, bias: bias.values,
          logScale: logScale.values,
          biasGradient: nil, logScaleGradient: nil)
      }
      return
    }
    let sums = sums!.memory
    Kernel.actnormVJP(
      values, cotangent: cotangent, direction, bias: bias.values, logScale: logScale.values,
      biasGradient: sums[0..<c], logScaleGradient: sums[c..<2 * c])
    for i in 0..<pass.count {
      sums[2 * c] += (direction == .inverse ? -1 : 1) * pass.logDetCotangent[i]
    }
  }

  func startGradient(input: ImageShape) throws {
    pixels = input.count / bias.count
    // Only training needs them.
    let sums = try self.sums ?? Storage(count: 2 * bias.count + 1)
    self.sums = sums
    sums.memory.fill(0)
  }

  func finishGradient() {
    let c = bias.count
    let sums = sums!.memory
    for k in 0..<c {
      bias.gradient[k] += Scalar(sums[k])
      logScale.gradient[k] += Scalar(sums[c + k] + Double(pixels) * sums[2 * c])
    }
  }
}
