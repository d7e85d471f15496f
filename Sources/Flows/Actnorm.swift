import AIPOKernels

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// A scale and a shift per channel: `y = (x + b)·e^s`, log-det `h·w·Σs`.
///
/// Data-dependent initialisation gives the first batch zero mean and unit variance a channel.
/// Source: D. P. Kingma, P. Dhariwal, *Glow*, NeurIPS 2018, §3.1.
public final class Actnorm<Scalar: KernelScalar>: FlowLayer {
  private let bias: LayerParameter<Scalar>
  private let logScale: LayerParameter<Scalar>
  private let initialized: LayerParameter<Scalar>
  private let dataDependent: Bool
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

  public var losesInput: Bool { false }

  public func configure(input: ImageShape) throws -> ImageShape {
    precondition(input.channels == bias.count)
    pixels = input.height * input.width
    return input
  }

  /// `h·w·Σs`
  private var logDet: Double { Double(pixels) * logScale.values.elements.reduce(0) { $0 + Double($1) } }

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
    try forward(pass.values, pass: pass)
    pass.addLogDet(logDet)
  }

  public func inverse(_ pass: FlowPass<Scalar>) throws {
    try split(pass.values, pass) { Kernel.actnormInverse($0, bias: bias.values, logScale: logScale.values) }
    pass.addLogDet(-logDet)
  }

  public func forwardVJP(_ pass: FlowPass<Scalar>) throws {
    try vjp(values: pass.values, cotangent: pass.cotangent, pass: pass, inverse: false)
  }

  public func inverseVJP(_ pass: FlowPass<Scalar>) throws {
    try vjp(values: pass.values, cotangent: pass.cotangent, pass: pass, inverse: true)
  }

  private func split(_ values: Memory<Scalar>, _ pass: FlowPass<Scalar>, _ body: (Memory<Scalar>) -> Void)
    throws
  {
    let c = bias.count
    try pass.pool.split(values.count / c, minimum: 16384 / c) { range, _ in
      body(values[range.lowerBound * c..<range.upperBound * c])
    }
  }

  private func forward(_ values: Memory<Scalar>, pass: FlowPass<Scalar>) throws {
    try split(values, pass) { Kernel.actnorm($0, bias: bias.values, logScale: logScale.values) }
  }

  /// Back through one direction, for values anywhere (`LatentHead` applies the layer to emitted latents).
  private func vjp(
    values: Memory<Scalar>, cotangent: Memory<Scalar>, pass: FlowPass<Scalar>, inverse: Bool
  ) throws {
    let c = bias.count
    let kernel = inverse ? Kernel<Scalar>.actnormInverseVJP : Kernel<Scalar>.actnormVJP
    guard pass.wantsParameterGradients else {
      try pass.pool.split(values.count / c, minimum: 8192 / c) { range, _ in
        let range = range.lowerBound * c..<range.upperBound * c
        kernel(values[range], cotangent[range], bias.values, logScale.values, nil, nil)
      }
      return
    }
    let sums = try Storage<Double>(count: 2 * c)
    kernel(
      values, cotangent, bias.values, logScale.values, sums.memory[0..<c], sums.memory[c..<2 * c])
    let fromLogDet = (inverse ? -1 : 1) * Double(pixels) * pass.logDetCotangentSum
    for k in 0..<c {
      bias.gradient[k] += Scalar(sums.memory[k])
      logScale.gradient[k] += Scalar(sums.memory[c + k] + fromLogDet)
    }
  }
}

extension Actnorm {
  /// The layer applied to latents outside the batch's values, log-det included.
  func forwardLatents(_ latents: Memory<Scalar>, pass: FlowPass<Scalar>) throws {
    try forward(latents, pass: pass)
    pass.addLogDet(logDet)
  }

  func inverseLatents(_ latents: Memory<Scalar>, pass: FlowPass<Scalar>) throws {
    try split(latents, pass) { Kernel.actnormInverse($0, bias: bias.values, logScale: logScale.values) }
    pass.addLogDet(-logDet)
  }

  func vjpLatents(
    _ latents: Memory<Scalar>, cotangent: Memory<Scalar>, pass: FlowPass<Scalar>, inverse: Bool
  ) throws {
    try vjp(values: latents, cotangent: cotangent, pass: pass, inverse: inverse)
  }
}
