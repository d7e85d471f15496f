import AIPOKernels

/// The mass M of Hamiltonian dynamics, by a W with `M = W⁻ᵀW⁻¹`: in `w = W⁻¹u` the mass is 1. The best M is the precision of
/// what is sampled, or what is near it.
public struct Mass: Sendable {
  private enum Form: Sendable {
    case identity
    /// W's diagonal.
    case diagonal(Tensor<Double>)
    /// L of `M = LLᵀ`, W = L⁻ᵀ; M, and M⁻¹, whose product takes half the time of one with L⁻¹ and one with L⁻ᵀ.
    case dense(Cholesky, Matrix, inverse: Matrix)
  }
  private let form: Form

  public static let identity = Mass(form: .identity)

  private init(form: Form) { self.form = form }

  /// `M = diag(m)`, m > 0.
  public init(diagonal m: Tensor<Double>) {
    var roots = m
    roots.withMemory { $0.setEach { 1 / $0.squareRoot() } }
    form = .diagonal(roots)
  }

  /// A dense M. Throws where it isn't positive definite.
  public init(_ m: Matrix) throws(LinearAlgebraError) {
    let factor = try Cholesky(m)
    form = .dense(factor, m, inverse: try factor.inverse())
  }

  /// What `init(array:dimension:)` makes it of again: nothing, W's diagonal, or M.
  func array() throws -> Tensor<Double> {
    switch form {
    case .identity: try Tensor(count: 0)
    case .diagonal(let roots): roots
    case .dense(_, let m, _): try Tensor(shape: [m.rows, m.columns], elements: m.columnMajor)
    }
  }

  /// Nil where the array is none of these.
  init?(array: Tensor<Double>, dimension d: Int) throws {
    switch array.shape {
    case [0]: form = .identity
    case [d]:
      guard array.view.isFinite(), array.elements.allSatisfy({ $0 > 0 }) else { return nil }
      form = .diagonal(array)
    case [d, d]:
      // Column by column, as it was written: only one of its triangles counts.
      let elements = array.elements
      guard let mass = try? Mass(try Matrix(rows: d, columns: d) { elements[$0 + $1 * d] }) else {
        return nil
      }
      self = mass
    default: return nil
    }
  }

  /// Of M⁻¹'s diagonal.
  func supposedVariance(of coordinate: Int) -> Double {
    switch form {
    case .identity: 1
    case .diagonal(let roots): roots.view[coordinate] * roots.view[coordinate]
    case .dense(_, _, let inverse): inverse[coordinate, coordinate]
    }
  }

  /// `g ← Wᵀg`: a gradient in u becomes that in w.
  public func pullBack(_ g: Vector, _ pool: ThreadPool) {
    switch form {
    case .identity: break
    case .diagonal(let roots): g.setEach(pool, g, roots.view) { $0 * $1 }
    case .dense(let factor, _, _): factor.whiten(g)
    }
  }

  /// `v ← Wv`: a step in w becomes that in u.
  public func pushForward(_ v: Vector, _ pool: ThreadPool) {
    switch form {
    case .identity: break
    case .diagonal(let roots): v.setEach(pool, v, roots.view) { $0 * $1 }
    case .dense(let factor, _, _): factor.whitenTransposed(v)
    }
  }

  /// `v ← M⁻¹g`: how a force g changes the velocity in u. v isn't g.
  public func accelerate(_ g: Vector, into v: Vector, _ pool: ThreadPool) {
    switch form {
    case .identity: v.set(g, pool)
    case .diagonal(let roots): v.setEach(pool, g, roots.view) { $0 * $1 * $1 }
    case .dense(_, _, let inverse): inverse.multiplySymmetric(g, into: v)
    }
  }

  /// `v ← W⁻ᵀv`: of v ~ N(0, I) a momentum of N(0, M).
  public func momentum(_ v: Vector, _ pool: ThreadPool) {
    switch form {
    case .identity: break
    case .diagonal(let roots): v.setEach(pool, v, roots.view) { $0 / $1 }
    case .dense(let factor, _, _): factor.multiplyFactor(v)
    }
  }
}
