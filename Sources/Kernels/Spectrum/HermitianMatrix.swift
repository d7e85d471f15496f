/// A complex number, as arrays of pairs (re, im) hold it.
struct Complex {
  var re: Double
  var im: Double

  init(_ re: Double, _ im: Double = 0) { (self.re, self.im) = (re, im) }

  var conjugate: Complex { Complex(re, -im) }

  static func + (a: Complex, b: Complex) -> Complex { Complex(a.re + b.re, a.im + b.im) }
  static func - (a: Complex, b: Complex) -> Complex { Complex(a.re - b.re, a.im - b.im) }
  static func * (a: Complex, b: Complex) -> Complex {
    Complex(a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re)
  }
  static func * (a: Double, b: Complex) -> Complex { Complex(a * b.re, a * b.im) }
}

/// Diagonalises a small Hermitian matrix: `A = V diag(a) V*`. A (`[n, n]`, row-major) becomes diagonal, V's columns are the
/// eigenvectors. By Jacobi's rotations, which find small eigenvalues beside large ones to full precision relative to the
/// matrix; no memory is allocated.
func diagonalise(_ A: UnsafeMutablePointer<Complex>, vectors V: UnsafeMutablePointer<Complex>, order n: Int) {
  for i in 0..<n * n { V[i] = Complex(i % (n + 1) == 0 ? 1 : 0) }
  for _ in 0..<30 {
    var off = 0.0
    var all = 0.0
    for i in 0..<n * n {
      let square = A[i].re * A[i].re + A[i].im * A[i].im
      all += square
      if i % (n + 1) != 0 { off += square }
    }
    guard off > 1e-33 * all else { return }
    for p in 0..<n {
      for q in p + 1..<n { rotate(A, V, n, p, q) }
    }
  }
}

/// Makes `A[p, q]` zero by a rotation of the rows and columns p and q.
private func rotate(
  _ A: UnsafeMutablePointer<Complex>, _ V: UnsafeMutablePointer<Complex>, _ n: Int, _ p: Int, _ q: Int
) {
  let element = A[p * n + q]
  let size = (element.re * element.re + element.im * element.im).squareRoot()
  guard size > 0 else { return }
  let tau = (A[q * n + q].re - A[p * n + p].re) / (2 * size)
  let tangent = (tau < 0 ? -1 : 1) / (tau.magnitude + (1 + tau * tau).squareRoot())
  let cosine = 1 / (1 + tangent * tangent).squareRoot()
  let sine = tangent * cosine
  // e^(−iφ) of A[p, q] = |A[p, q]| e^(iφ)
  let turn = Complex(element.re / size, -element.im / size)
  func turned(_ M: UnsafeMutablePointer<Complex>) {
    for i in 0..<n {
      let (first, second) = (M[i * n + p], turn * M[i * n + q])
      M[i * n + p] = cosine * first - sine * second
      M[i * n + q] = sine * first + cosine * second
    }
  }
  turned(A)
  turned(V)
  for j in 0..<n {
    let (first, second) = (A[p * n + j], turn.conjugate * A[q * n + j])
    A[p * n + j] = cosine * first - sine * second
    A[q * n + j] = sine * first + cosine * second
  }
  A[p * n + q] = Complex(0)
  A[q * n + p] = Complex(0)
}
