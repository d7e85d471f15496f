import AIPOKernels

/// A logistic in a flow as data.
struct LogisticKind: LayerKind {
  static let name = "logistic"
  static let plain: Self? = Self()

  func makeLayer<Scalar: KernelScalar>(
    for input: ImageShape, in flow: FlowSpec, _: Scalar.Type
  ) -> any FlowLayer<Scalar> { Logistic<Scalar>() }
}

extension LogisticKind {
  init(from decoder: any Decoder) throws { _ = try KnownKeys(decoder, []) }
}

/// `y = σ(x)` elementwise: latents on (0, 1) for a uniform base, which then is a logistic base for what comes in.
/// log-det `Σ log σ(x) + log σ(−x)`, by its stable form.
public final class Logistic<Scalar: KernelScalar>: FlowLayer {
  public init() {}

  private func forImages(_ pass: FlowPass<Scalar>, _ body: (Int, Range<Int>) -> Void) throws {
    let size = pass.shape.count
    try pass.pool.split(pass.count, minimum: max(1, 4096 / size)) { images, _ in
      for i in images { body(i, i * size..<(i + 1) * size) }
    }
  }

  public func forward(_ pass: FlowPass<Scalar>) throws {
    try forImages(pass) { i, range in Kernel.logistic(pass.values[range], logDet: &pass.logDet[i]) }
  }

  public func inverse(_ pass: FlowPass<Scalar>) throws {
    try forImages(pass) { i, range in Kernel.logisticInverse(pass.values[range], logDet: &pass.logDet[i]) }
  }

  public func forwardVJP(_ pass: FlowPass<Scalar>) throws {
    try forImages(pass) { i, range in
      Kernel.logisticVJP(
        pass.values[range], cotangent: pass.cotangent[range], logDetCotangent: pass.logDetCotangent[i])
    }
  }

  public func inverseVJP(_ pass: FlowPass<Scalar>) throws {
    try forImages(pass) { i, range in
      Kernel.logisticInverseVJP(
        pass.values[range], cotangent: pass.cotangent[range], logDetCotangent: pass.logDetCotangent[i])
    }
  }
}
