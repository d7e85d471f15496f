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
    let bad = mixing.withColumns { m in m.firstIndex { !$0.isFinite } }
    if let bad {
      throw .nonFinite(
        what: "mixing matrix row", image: bad % mixing.rows, position: bad / mixing.rows,
        value: mixing[bad % mixing.rows, bad / mixing.rows])
    }
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
    let (n, m) = (mixing.columns, mixing.rows)
    try scratch.pool.split(input.height * input.width, minimum: 1 << 12) { range, _ in
      for pixel in range {
        for i in 0..<m {
          var sum = 0.0
          for j in 0..<n { sum += mixing[i, j] * x[pixel * n + j] }
          y[pixel * m + i] = sum
        }
      }
    }
  }

  public func adjoint(_ u: Vector, into x: Vector, _ scratch: Scratch) throws {
    precondition(u.count == output.count && x.count == input.count)
    let (n, m) = (mixing.columns, mixing.rows)
    try scratch.pool.split(input.height * input.width, minimum: 1 << 12) { range, _ in
      for pixel in range {
        for j in 0..<n {
          var sum = 0.0
          for i in 0..<m { sum += mixing[i, j] * u[pixel * m + i] }
          x[pixel * n + j] = sum
        }
      }
    }
  }
}
