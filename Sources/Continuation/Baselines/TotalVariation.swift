import AIPOInverseProblems
import AIPOKernels

/// Isotropic total variation: the sum over pixels of `√(∂ₓ² + ∂ᵧ²)` by forward differences, channel by channel.
///
/// The proximal map is found by accelerated projected gradient on its dual, from where the last search ended.
/// Sources: L. Rudin, S. Osher, E. Fatemi, *Nonlinear total variation based noise removal*, 1992; A. Beck,
/// M. Teboulle, *Fast gradient-based algorithms for constrained total variation*, IEEE Trans. Image Processing 18
/// (2009).
struct TotalVariation: Penalty {
  let shape: ImageShape
  /// Steps of a search.
  let steps: Int
  /// The dual variables along columns and rows, of length ≤ 1 in every pixel.
  private var down: [Double]
  private var right: [Double]

  init(shape: ImageShape, steps: Int = 25) {
    self.shape = shape
    self.steps = steps
    down = [Double](repeating: 0, count: shape.count)
    right = down
  }

  /// Forward differences, 0 beyond the edge.
  private func gradient(_ x: [Double]) -> (down: [Double], right: [Double]) {
    let row = shape.width * shape.channels
    let c = shape.channels
    var down = [Double](repeating: 0, count: x.count)
    var right = down
    for i in x.indices {
      if i + row < x.count { down[i] = x[i + row] - x[i] }
      if i % row + c < row { right[i] = x[i + c] - x[i] }
    }
    return (down, right)
  }

  /// The transpose of `gradient`.
  private func adjoint(_ down: [Double], _ right: [Double]) -> [Double] {
    let row = shape.width * shape.channels
    let c = shape.channels
    var x = [Double](repeating: 0, count: down.count)
    for i in x.indices {
      if i + row < x.count {
        x[i] -= down[i]
        x[i + row] += down[i]
      }
      if i % row + c < row {
        x[i] -= right[i]
        x[i + c] += right[i]
      }
    }
    return x
  }

  func value(_ x: [Double]) -> Double {
    let (down, right) = gradient(x)
    return x.indices.reduce(0.0) { $0 + (down[$1] * down[$1] + right[$1] * right[$1]).squareRoot() }
  }

  /// `u = v − weight·Dᵀp` at the p of length ≤ 1 for which ‖u‖ is least.
  mutating func proximal(_ v: [Double], weight: Double) -> [Double] {
    guard weight > 0 else { return v }
    var (aheadDown, aheadRight) = (down, right)
    var momentum = 1.0
    for _ in 0..<steps {
      let u = adding(v, adjoint(aheadDown, aheadRight), scaledBy: -weight)
      let (slopeDown, slopeRight) = gradient(u)
      let grown = (1 + (1 + 4 * momentum * momentum).squareRoot()) / 2
      let push = (momentum - 1) / grown
      for i in v.indices {
        // ‖D‖² ≤ 8.
        var a = aheadDown[i] + slopeDown[i] / (8 * weight)
        var b = aheadRight[i] + slopeRight[i] / (8 * weight)
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
      momentum = grown
    }
    return adding(v, adjoint(down, right), scaledBy: -weight)
  }
}
