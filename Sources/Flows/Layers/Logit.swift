import AIPOKernels
import AIPOPlatform

/// A logit in a flow as data.
struct LogitKind: LayerKind {
  static let name = "logit"
  static let plain: Self? = Self(margin: 0.05)
  var margin: Double

  func check() throws(FlowError) {
    guard (0..<0.5).contains(margin) else {
      throw .invalidSpec("logit: margin is \(margin), expected at least 0 and below 0.5")
    }
  }

  func makeLayer<Scalar: KernelScalar>(
    for input: ImageShape, in flow: FlowSpec, _: Scalar.Type
  ) -> any FlowLayer<Scalar> { Logit<Scalar>(margin: margin) }
}

extension LogitKind {
  init(from decoder: any Decoder) throws {
    margin = try KnownKeys(decoder, ["margin"]).get("margin", default: 0.05)
  }
}

/// `y = log(u/(1 − u))` with `u = α + (1 − 2α)·x`, elementwise: pixels on [0, 1] become real numbers, and with a margin
/// α > 0 the ends stay finite. log-det `d·log(1 − 2α) − Σ log u + log(1 − u)`.
///
/// Only x between −α/(1 − 2α) and 1 + α/(1 − 2α) has a y; elsewhere it isn't finite.
/// Source: L. Dinh et al., *Density estimation using Real NVP*, ICLR 2017, §4.1.
public final class Logit<Scalar: KernelScalar>: FlowLayer {
  private let margin: Scalar
  private let slope: Scalar

  /// `margin` is α, at least 0 and below ½.
  public init(margin: Double) {
    precondition((0..<0.5).contains(margin))
    self.margin = Scalar(margin)
    slope = Scalar(1 - 2 * margin)
  }

  private func forImages(_ pass: FlowPass<Scalar>, _ body: (Int, Range<Int>) -> Void) throws {
    let size = pass.shape.count
    try pass.pool.split(pass.count, minimum: max(1, 4096 / size)) { images, _ in
      for i in images { body(i, i * size..<(i + 1) * size) }
    }
  }

  /// What the slope adds to an image's log-determinant from x to y.
  private func logSlope(_ pass: FlowPass<Scalar>) -> Double {
    Double(pass.shape.count) * log(Double(slope))
  }

  private func toUnit(_ values: Memory<Scalar>) {
    for k in 0..<values.count { values[k] = margin + slope * values[k] }
  }

  private func fromUnit(_ values: Memory<Scalar>) {
    for k in 0..<values.count { values[k] = (values[k] - margin) / slope }
  }

  private func scale(_ cotangent: Memory<Scalar>, by factor: Scalar) {
    for k in 0..<cotangent.count { cotangent[k] *= factor }
  }

  public func forward(_ pass: FlowPass<Scalar>) throws {
    try forImages(pass) { i, range in
      toUnit(pass.values[range])
      Kernel.logisticInverse(pass.values[range], logDet: &pass.logDet[i])
      pass.logDet[i] += logSlope(pass)
    }
  }

  public func inverse(_ pass: FlowPass<Scalar>) throws {
    try forImages(pass) { i, range in
      Kernel.logistic(pass.values[range], logDet: &pass.logDet[i])
      fromUnit(pass.values[range])
      pass.logDet[i] -= logSlope(pass)
    }
  }

  public func forwardVJP(_ pass: FlowPass<Scalar>) throws {
    try forImages(pass) { i, range in
      Kernel.logisticInverseVJP(
        pass.values[range], cotangent: pass.cotangent[range], logDetCotangent: pass.logDetCotangent[i])
      fromUnit(pass.values[range])
      scale(pass.cotangent[range], by: slope)
    }
  }

  public func inverseVJP(_ pass: FlowPass<Scalar>) throws {
    try forImages(pass) { i, range in
      toUnit(pass.values[range])
      scale(pass.cotangent[range], by: 1 / slope)
      Kernel.logisticVJP(
        pass.values[range], cotangent: pass.cotangent[range], logDetCotangent: pass.logDetCotangent[i])
    }
  }
}
