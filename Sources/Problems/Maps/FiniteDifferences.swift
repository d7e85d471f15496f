import AIPOKernels
import AIPOPlatform
import AIPOPriors

/// `f(x) = (x[i + 1, j] − x[i, j], x[i, j + 1] − x[i, j])`: forward differences down the columns and then along the rows, each
/// an image of x's shape, 0 at the last row and column, or round the image with boundary `circular`.
public struct FiniteDifferences: LinearMap {
  public let input: ImageShape
  public let isCircular: Bool
  public let normal: NormalForm
  public let nearNormal: Spectrum?

  public var output: ImageShape { .vector(2 * input.count) }

  public init(_ shape: ImageShape, isCircular: Bool = false) throws {
    (input, self.isCircular) = (shape, isCircular)
    let transform = try FourierTransform(shape)
    let columns = shape.width / 2 + 1
    var values = try Tensor<Double>(count: shape.height * columns)
    values.withMemory { values in
      for i in 0..<shape.height {
        let down = sin(Double.pi * Double(i) / Double(shape.height))
        for k in 0..<columns {
          let right = sin(Double.pi * Double(k) / Double(shape.width))
          values[i * columns + k] = 4 * (down * down + right * right)
        }
      }
    }
    let near = Spectrum(transform, values: values)
    nearNormal = near
    normal = isCircular ? .stationary(near) : .unknown
  }

  /// Runs `body` for every value with the places of its neighbours below and to the right, nil where there is none.
  private func eachValue(_ body: (_ i: Int, _ below: Int?, _ right: Int?) -> Void) {
    let (h, w, c) = (input.height, input.width, input.channels)
    for row in 0..<h {
      for column in 0..<w {
        let below = row + 1 < h ? row + 1 : isCircular ? 0 : nil
        let right = column + 1 < w ? column + 1 : isCircular ? 0 : nil
        for channel in 0..<c {
          func place(_ row: Int, _ column: Int) -> Int { (row * w + column) * c + channel }
          body(place(row, column), below.map { place($0, column) }, right.map { place(row, $0) })
        }
      }
    }
  }

  public func apply(_ x: Vector, into y: Vector, _ scratch: Scratch) throws {
    precondition(x.count == input.count && y.count == output.count)
    let d = x.count
    eachValue { i, below, right in
      y[i] = below.map { x[$0] - x[i] } ?? 0
      y[d + i] = right.map { x[$0] - x[i] } ?? 0
    }
  }

  public func adjoint(_ u: Vector, into x: Vector, _ scratch: Scratch) throws {
    precondition(x.count == input.count && u.count == output.count)
    let d = x.count
    x.set(0, scratch.pool)
    eachValue { i, below, right in
      for (neighbour, difference) in [(below, u[i]), (right, u[d + i])] {
        guard let neighbour else { continue }
        x[neighbour] += difference
        x[i] -= difference
      }
    }
  }
}
