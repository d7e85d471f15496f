import AIPOKernels

/// Numbers of an image that chains are judged by and that are calibrated: parts of its density, of its brightness, of coarse and
/// of fine structure, and projections on random directions, which see what no one thought of.
public struct ImageFunctionals: Sendable {
  public let names: [String]
  private let shape: ImageShape
  /// Unit vectors.
  private let directions: [Tensor<Double>]

  static let projections = 8

  /// `seed`: of the random directions.
  public init(_ shape: ImageShape, seed: UInt64 = 0) throws {
    self.shape = shape
    names =
      ["misfit in nats", "prior in nats", "mean", "contrast", "least", "greatest", "fine structure"]
      + ["upper left", "upper right", "lower left", "lower right"].map { "mean, \($0)" }
      + ["centre", "a quarter down", "a quarter across"].map { "pixel, \($0)" }
      + (0..<Self.projections).map { "projection \($0 + 1)" }
    directions = try (0..<Self.projections).map { k in
      var random = Philox(seed: seed, index: UInt64(k), purpose: .probe)
      var direction = try Tensor<Double>(count: shape.count)
      direction.withMemory { v in
        v.setNormals(&random)
        v.scale(by: 1 / v.norm())
      }
      return direction
    }
  }

  public var count: Int { names.count }

  /// The values of an evaluated point.
  public func values(_ sample: ObjectiveSample) -> [Double] {
    let v = sample.pixels
    let (h, w, c) = (shape.height, shape.width, shape.channels)
    let n = Double(v.count)
    let mean = v.total() / n
    let contrast = (v.total { ($0 - mean) * ($0 - mean) } / n).squareRoot()
    var (least, greatest) = (Double.infinity, -Double.infinity)
    var fine = 0.0
    var quarters = [0.0, 0, 0, 0]
    var counts = [0.0, 0, 0, 0]
    for y in 0..<h {
      for x in 0..<w {
        let quarter = (2 * y >= h ? 2 : 0) + (2 * x >= w ? 1 : 0)
        for k in 0..<c {
          let i = (y * w + x) * c + k
          let value = v[i]
          (least, greatest) = (min(least, value), max(greatest, value))
          quarters[quarter] += value
          counts[quarter] += 1
          if x + 1 < w { fine += (v[i + c] - value) * (v[i + c] - value) }
          if y + 1 < h { fine += (v[i + w * c] - value) * (v[i + w * c] - value) }
        }
      }
    }
    func pixel(_ y: Int, _ x: Int) -> Double { v[(y * w + x) * c] }
    return [sample.recon, sample.flow ?? 0, mean, contrast, least, greatest, fine]
      + zip(quarters, counts).map { $1 > 0 ? $0 / $1 : mean }
      + [pixel(h / 2, w / 2), pixel(h / 4, w / 2), pixel(h / 2, w / 4)]
      + directions.map { v.dot($0.view) }
  }
}
