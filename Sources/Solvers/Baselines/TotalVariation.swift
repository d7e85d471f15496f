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
  /// Steps of a search.
  let steps: Int
  /// The dual variables along columns and rows, of length ≤ 1 in every pixel, 0 where there is no difference.
  private let dual: Storage<Double>

  private typealias Field = (down: Vector, right: Vector)

  init(shape: ImageShape, steps: Int = 25) throws(TensorError) {
    self.shape = shape
    self.steps = steps
    dual = try Storage(count: 2 * shape.count)
  }

  var count: Int { shape.count }
  private var row: Int { shape.width * shape.channels }

  /// The sum of `body` over blocks of whole rows, the same blocks whatever the threads; `body` gets the places of its
  /// values.
  private func overRows(_ scratch: Scratch, _ body: (Range<Int>) -> Double) throws -> Double {
    let size = max(1, (1 << 13) / max(row, 1)) * row
    let blocks = size == 0 ? 0 : (count + size - 1) / size
    return try scratch.scope {
      let sums = try scratch.take(blocks)
      try scratch.pool.run(blocks) { k, _ in sums[k] = body(k * size..<min((k + 1) * size, count)) }
      return sums.total()
    }
  }

  /// Forward differences of x at place i, 0 beyond the edge.
  @inline(__always)
  private func difference(_ x: UnsafePointer<Double>, _ i: Int) -> (down: Double, right: Double) {
    let c = shape.channels
    return (i + row < count ? x[i + row] - x[i] : 0, i % row + c < row ? x[i + c] - x[i] : 0)
  }

  /// `(Dᵀp)ᵢ`, D the differences, of a p that is 0 where there is none.
  @inline(__always)
  private func divergence(_ down: UnsafePointer<Double>, _ right: UnsafePointer<Double>, _ i: Int) -> Double {
    let c = shape.channels
    let above = i >= row ? down[i - row] : 0
    let left = i % row >= c ? right[i - c] : 0
    return above + left - down[i] - right[i]
  }

  /// `u ← v − weight·Dᵀp`. u may be v.
  private func set(_ u: Vector, _ v: Vector, minus weight: Double, _ p: Field, _ scratch: Scratch) throws {
    let (u, v, down, right) = (u.pointer, v.pointer, p.down.pointer, p.right.pointer)
    _ = try overRows(scratch) { range in
      for i in range { u[i] = v[i] - weight * divergence(down, right, i) }
      return 0
    }
  }

  /// The gradient is that of the least norm where there are several, at pixels without a difference.
  func evaluate(_ x: Vector, gradient: Vector?, _ scratch: Scratch) throws -> Double {
    let pixels = x.pointer
    guard let gradient else {
      return try overRows(scratch) { range in
        var sum = 0.0
        for i in range {
          let (a, b) = difference(pixels, i)
          sum += (a * a + b * b).squareRoot()
        }
        return sum
      }
    }
    return try scratch.scope {
      let slopes = Field(try scratch.take(count), try scratch.take(count))
      let (down, right) = (slopes.down.pointer, slopes.right.pointer)
      let value = try overRows(scratch) { range in
        var sum = 0.0
        for i in range {
          let (a, b) = difference(pixels, i)
          let length = (a * a + b * b).squareRoot()
          sum += length
          down[i] = length > 0 ? a / length : 0
          right[i] = length > 0 ? b / length : 0
        }
        return sum
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
      let (pixels, down, right) = (u.pointer, p.down.pointer, p.right.pointer)
      let (aheadDown, aheadRight) = (ahead.down.pointer, ahead.right.pointer)
      var momentum = 1.0
      for _ in 0..<steps {
        try set(u, v, minus: weight, ahead, scratch)
        let grown = (1 + (1 + 4 * momentum * momentum).squareRoot()) / 2
        let push = (momentum - 1) / grown
        _ = try overRows(scratch) { range in
          for i in range {
            let slope = difference(pixels, i)
            // ‖D‖² ≤ 8.
            var a = aheadDown[i] + slope.down / (8 * weight)
            var b = aheadRight[i] + slope.right / (8 * weight)
            let length = (a * a + b * b).squareRoot()
            if length > 1 {
              a /= length
              b /= length
            }
            aheadDown[i] = a + push * (a - down[i])
            aheadRight[i] = b + push * (b - right[i])
            down[i] = a
            right[i] = b
          }
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
