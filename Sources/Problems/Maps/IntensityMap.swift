import AIPOKernels
import AIPOPriors

/// `f(x) = |Ax|²`: intensities without their phases, phase retrieval's map. x and −x look alike, which a prior has to tell.
///
/// A gives real numbers, or complex ones as neighbours, real and imaginary part.
public struct IntensityMap: Map {
  public let map: any LinearMap
  public let isComplex: Bool

  public var input: ImageShape { map.input }
  public var output: ImageShape { .vector(map.output.count / parts) }
  private var parts: Int { isComplex ? 2 : 1 }

  public init(_ map: any LinearMap, isComplex: Bool) {
    precondition(!isComplex || map.output.count % 2 == 0, "complex numbers are pairs")
    (self.map, self.isComplex) = (map, isComplex)
  }

  /// Coded diffraction: `|F D_k x|²` for n random masks D_k of the phases 1, i, −1 and −i, F the unitary Fourier transform,
  /// with its zero frequency in the middle; n·h·w intensities, mask by mask. Images have one channel or two, real and
  /// imaginary parts. (E. Candès, X. Li, M. Soltanolkotabi, *Phase retrieval from coded diffraction patterns*, 2015)
  public static func codedDiffraction(_ shape: ImageShape, patterns n: Int, seed: UInt64) throws
    -> IntensityMap
  {
    try requireParameter("the number of patterns", Double(n), in: 1...1024)
    let pixels = shape.height * shape.width
    var random = Philox(seed: seed, purpose: .operatorEntries)
    var masks = try Tensor<Double>(shape: [n, shape.height, shape.width, 2])
    masks.withMemory { masks in
      for i in 0..<n * pixels {
        let turn = random.next() & 3
        (masks[2 * i], masks[2 * i + 1]) =
          turn == 0 ? (1, 0) : turn == 1 ? (0, 1) : turn == 2 ? (-1, 0) : (0, -1)
      }
    }
    return IntensityMap(
      try FourierSampling(
        shape, taken: [Bool](repeating: true, count: pixels), sensitivities: masks), isComplex: true)
  }

  /// `y_k ←` the sum of `body` over the parts of number k of two vectors.
  private func sumParts(_ a: Vector, _ b: Vector, into y: Vector) {
    if isComplex {
      for k in 0..<y.count { y[k] = a[2 * k] * b[2 * k] + a[2 * k + 1] * b[2 * k + 1] }
    } else {
      for k in 0..<y.count { y[k] = a[k] * b[k] }
    }
  }

  /// Multiplies number k of z by u_k.
  private func scaleParts(_ z: Vector, by u: Vector, times factor: Double) {
    for k in 0..<u.count {
      let weight = factor * u[k]
      for part in 0..<parts { z[parts * k + part] *= weight }
    }
  }

  public func apply(_ x: Vector, into y: Vector, _ scratch: Scratch) throws {
    precondition(y.count == output.count)
    try scratch.scope {
      let z = try scratch.take(map.output.count)
      try map.apply(x, into: z, scratch)
      sumParts(z, z, into: y)
    }
  }

  /// `2 Aᵀ(u ∘ Ax)`
  public func pullback(_ u: Vector, at x: Vector, into g: Vector, _ scratch: Scratch) throws {
    precondition(u.count == output.count)
    try scratch.scope {
      let z = try scratch.take(map.output.count)
      try map.apply(x, into: z, scratch)
      scaleParts(z, by: u, times: 2)
      try map.adjoint(z, into: g, scratch)
    }
  }

  public func derivative(at x: Vector, _ scratch: Scratch) throws -> (any LinearMap)? {
    var z = try Tensor<Double>(count: map.output.count)
    try z.withMemory { try map.apply(x, into: $0, scratch) }
    return try Derivative(intensities: self, amplitudes: z)
  }

  /// `Jv = 2 Re(z̄ ∘ Av)`, z = Ax.
  private struct Derivative: LinearMap {
    let intensities: IntensityMap
    let amplitudes: Tensor<Double>
    let nearNormal: Spectrum?
    var input: ImageShape { intensities.input }
    var output: ImageShape { intensities.output }

    init(intensities: IntensityMap, amplitudes z: Tensor<Double>) throws {
      (self.intensities, amplitudes) = (intensities, z)
      // 4·z̄z counts by its mean, of a complex number half of it.
      nearNormal = try intensities.map.nearNormal?.scaled(
        by: 4 * z.view.dot(z.view) / Double(max(z.count, 1)))
    }

    func apply(_ x: Vector, into y: Vector, _ scratch: Scratch) throws {
      try scratch.scope {
        let moved = try scratch.take(amplitudes.count)
        try intensities.map.apply(x, into: moved, scratch)
        intensities.sumParts(amplitudes.view, moved, into: y)
        y.scale(by: 2, scratch.pool)
      }
    }

    func adjoint(_ u: Vector, into x: Vector, _ scratch: Scratch) throws {
      try scratch.scope {
        let z = try scratch.take(amplitudes.count)
        z.set(amplitudes.view)
        intensities.scaleParts(z, by: u, times: 2)
        try intensities.map.adjoint(z, into: x, scratch)
      }
    }
  }

  /// The spectral estimate: the eigenvector of `Aᵀ diag(T(y/ȳ)) A` of the greatest eigenvalue, whose direction comes near x
  /// where the rows of A are random and many, as long as makes the mean intensity right. Of the two signs the one with the
  /// brighter image. `T(s) = 1 − 1/(s + 0.1)`: of all T, 1 − 1/s comes the nearest to x however many rows there are, and the 0.1
  /// keeps dark rows from having all the weight. (W. Luo, W. Alghamdi & Y. Lu, *Optimal spectral initialization for signal
  /// recovery with applications to phase retrieval*, IEEE Transactions on Signal Processing 67(9), 2019)
  public func estimate(_ y: Vector, into x: Vector, _ scratch: Scratch) throws -> Bool {
    let mean = y.total(scratch.pool) / Double(max(y.count, 1))
    guard mean > 0 else { return false }
    try scratch.scope {
      let (weights, z) = (try scratch.take(y.count), try scratch.take(map.output.count))
      weights.setEach(scratch.pool, y) { 1 - 1 / (max($0, 0) / mean + 0.1) }
      var random = Philox(seed: 0, purpose: .curvature)
      x.setNormals(&random)
      // Bright images lean to the constant one.
      x.setEach { $0.magnitude }
      try Lanczos.leadingEigenvector(into: x, steps: 15, restarts: 3, scratch) { p, image in
        try map.apply(p, into: z, scratch)
        scaleParts(z, by: weights, times: 1)
        try map.adjoint(z, into: image, scratch)
      }
      try apply(x, into: weights, scratch)
      let own = weights.total(scratch.pool) / Double(y.count)
      let sign: Double = x.total(scratch.pool) < 0 ? -1 : 1
      x.scale(by: own > 0 ? sign * (mean / own).squareRoot() : 0, scratch.pool)
    }
    return true
  }
}
