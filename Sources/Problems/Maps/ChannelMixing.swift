import AIPOKernels
import AIPOPriors

/// `f(x)` mixes the channels of every pixel, `y = M x` with M of bands × channels: a grey picture of a colour image, or what
/// the bands of a sensor see of some materials.
public struct ChannelMixing: LinearMap {
  public let input: ImageShape
  public let output: ImageShape
  public let mixing: Matrix

  /// Throws where M has another number of columns than the images have channels.
  public init(_ shape: ImageShape, mixing: Matrix) throws(ProblemError) {
    guard mixing.columns == shape.channels, mixing.rows > 0 else {
      throw .shapeMismatch(
        what: "mixing matrix", found: [mixing.rows, mixing.columns], expected: [mixing.rows, shape.channels])
    }
    try requireFinite(mixing, "mixing matrix row")
    input = shape
    output = ImageShape(height: shape.height, width: shape.width, channels: mixing.rows)
    self.mixing = mixing
  }

  /// The luma of red, green and blue (ITU-R BT.601): `0.299 R + 0.587 G + 0.114 B`.
  public static func grey(_ shape: ImageShape) throws(ProblemError) -> ChannelMixing {
    let luma = try algebra { () throws(LinearAlgebraError) in
      try Matrix(rows: 1, columns: 3, rowMajor: [0.299, 0.587, 0.114])
    }
    return try ChannelMixing(shape, mixing: luma)
  }

  public func apply(_ x: Vector, into y: Vector, _ scratch: Scratch) throws {
    precondition(x.count == input.count && y.count == output.count)
    try mix(x, mixing.columns, into: y, mixing.rows, scratch.pool) { mixing[$0, $1] }
  }

  public func adjoint(_ u: Vector, into x: Vector, _ scratch: Scratch) throws {
    precondition(u.count == output.count && x.count == input.count)
    try mix(u, mixing.rows, into: x, mixing.columns, scratch.pool) { mixing[$1, $0] }
  }

  /// At every pixel `yᵢ ← Σⱼ weight(i, j) xⱼ`, of n channels to m.
  private func mix(
    _ x: Vector, _ n: Int, into y: Vector, _ m: Int, _ pool: ThreadPool,
    weight: @Sendable (_ i: Int, _ j: Int) -> Double
  ) throws {
    try pool.split(input.height * input.width, minimum: 1 << 12) { range, _ in
      for pixel in range {
        for i in 0..<m {
          var sum = 0.0
          for j in 0..<n { sum += weight(i, j) * x[pixel * n + j] }
          y[pixel * m + i] = sum
        }
      }
    }
  }
}
