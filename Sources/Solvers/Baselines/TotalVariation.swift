import AIPOKernels
import AIPOPriors

/// Isotropic total variation: the sum over pixels of `√(∂ₓ² + ∂ᵧ²)` by forward differences, channel by channel.
///
/// The proximal map is found by accelerated projected gradient on its dual, from where the last search ended.
/// Sources: L. Rudin, S. Osher, E. Fatemi, *Nonlinear total variation based noise removal*, 1992; A. Beck,
/// M. Teboulle, *Fast gradient-based algorithms for constrained total variation*, IEEE Trans. Image Processing 18
/// (2009).
final class TotalVariation: Penalty, @unchecked Sendable {
  let shape: ImageShape
  /// Steps of a search. Ten bring a descent to where any more do, as each goes on from the last.
  let steps: Int
  /// The dual variables along columns and rows, of length ≤ 1 in every pixel, 0 where there is no difference.
  private let dual: Storage<Double>

  private typealias Field = (down: Vector, right: Vector)

  init(shape: ImageShape, steps: Int = 10) throws(TensorError) {
    self.shape = shape
    self.steps = steps
    dual = try Storage(count: 2 * shape.count)
  }

  var count: Int { shape.count }

  /// The sum of `body` over all values, in blocks of whole rows that are the same whatever the threads; `body` gets a
  /// value's place in the image and in its row.
  @inline(__always)
  private func sum(_ scratch: Scratch, _ body: (_ i: Int, _ j: Int) -> Double) throws -> Double {
    let (row, rows) = (grid.row, shape.height)
    let height = max(1, (1 << 13) / max(row, 1))
    let blocks = (rows + height - 1) / height
    return try scratch.scope {
      let sums = try scratch.take(blocks)
      try scratch.pool.run(blocks) { k, _ in
        var sum = 0.0
        for i in k * height..<min((k + 1) * height, rows) {
          for j in 0..<row { sum += body(i * row + j, j) }
        }
        sums[k] = sum
      }
      return sums.total()
    }
  }

  /// The lengths that loops ask of an image, in values: of all, of a row, of a pixel.
  private struct Grid {
    let count: Int
    let row: Int
    let pixel: Int

    /// Forward differences of x at place i, j in its row; 0 beyond the edge.
    @inline(__always)
    func difference(_ x: UnsafePointer<Double>, _ i: Int, _ j: Int) -> (down: Double, right: Double) {
      (i + row < count ? x[i + row] - x[i] : 0, j + pixel < row ? x[i + pixel] - x[i] : 0)
    }
  }

  private var grid: Grid {
    Grid(count: count, row: shape.width * shape.channels, pixel: shape.channels)
  }

  /// `u ← v − weight·Dᵀp`, D the differences, of a p that is 0 where there is none. u may be v.
  private func set(_ u: Vector, _ v: Vector, minus weight: Double, _ p: Field, _ scratch: Scratch) throws {
    let (u, v, down, right, grid) = (u.pointer, v.pointer, p.down.pointer, p.right.pointer, grid)
    _ = try sum(scratch) { i, j in
      let above = i >= grid.row ? down[i - grid.row] : 0
      let left = j >= grid.pixel ? right[i - grid.pixel] : 0
      u[i] = v[i] - weight * (above + left - down[i] - right[i])
      return 0
    }
  }

  /// The gradient is that of the least norm where there are several, at pixels without a difference.
  func evaluate(_ x: Vector, gradient: Vector?, _ scratch: Scratch) throws -> Double {
    let (pixels, grid) = (x.pointer, grid)
    guard let gradient else {
      return try sum(scratch) { i, j in
        let (a, b) = grid.difference(pixels, i, j)
        return (a * a + b * b).squareRoot()
      }
    }
    return try scratch.scope {
      let slopes = Field(try scratch.take(count), try scratch.take(count))
      let (down, right) = (slopes.down.pointer, slopes.right.pointer)
      let value = try sum(scratch) { i, j in
        let (a, b) = grid.difference(pixels, i, j)
        let length = (a * a + b * b).squareRoot()
        down[i] = length > 0 ? a / length : 0
        right[i] = length > 0 ? b / length : 0
        return length
      }
      gradient.set(0, scratch.pool)
      try set(gradient, gradient, minus: -1, slopes, scratch)
      return value
    }
  }

  /// `u = v − weight·Dᵀp` at the p of length ≤ 1 for which ‖u‖ is least.
  func proximal(_ v: Vector, weight: Double, _ scratch: Scratch) throws -> Double {
    guard weight > 0 else { return try evaluate(v, gradient: nil, scratch) }
    let p = Field(dual.memory[0..<count], dual.memory[count..<2 * count])
    try scratch.scope {
      let u = try scratch.take(count)
      let ahead = Field(try scratch.take(count), try scratch.take(count))
      ahead.down.set(p.down, scratch.pool)
      ahead.right.set(p.right, scratch.pool)
      let (pixels, down, right, grid) = (u.pointer, p.down.pointer, p.right.pointer, grid)
      let (aheadDown, aheadRight) = (ahead.down.pointer, ahead.right.pointer)
      // ‖D‖² ≤ 8.
      let rate = 1 / (8 * weight)
      var momentum = 1.0
      for _ in 0..<steps {
        try set(u, v, minus: weight, ahead, scratch)
        let grown = (1 + (1 + 4 * momentum * momentum).squareRoot()) / 2
        let push = (momentum - 1) / grown
        _ = try sum(scratch) { i, j in
          let slope = grid.difference(pixels, i, j)
          var a = aheadDown[i] + rate * slope.down
          var b = aheadRight[i] + rate * slope.right
          let square = a * a + b * b
          if square > 1 {
            let shrink = 1 / square.squareRoot()
            a *= shrink
            b *= shrink
          }
          aheadDown[i] = a + push * (a - down[i])
          aheadRight[i] = b + push * (b - right[i])
          down[i] = a
          right[i] = b
          return 0
        }
        momentum = grown
      }
    }
    try set(v, v, minus: weight, p, scratch)
    return try evaluate(v, gradient: nil, scratch)
  }
}

extension Vector {
  /// Where the elements are, for loops whose places are right by construction.
  fileprivate var pointer: UnsafeMutablePointer<Double> {
    // Of nothing, any place will do.
    withUnsafeMutableBufferPointer { $0.baseAddress ?? UnsafeMutablePointer(bitPattern: 64)! }
  }
}
