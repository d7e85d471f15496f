import AIPOKernels

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// How the matrix of an invertible 1×1 convolution is held.
public enum MatrixForm: String, Codable, Sendable, CaseIterable {
  /// `W = P·L·(U + diag(sign·e^s))`: L unit lower triangular, U strictly upper, P and the signs fixed; log-det Σs.
  case plu
  /// W itself; `log|det W|` by LU.
  case dense
}

/// An invertible 1×1 convolution, `y = Wx` per pixel, log-det `h·w·log|det W|`.
///
/// W⁻¹ and log|det W| are computed once per change of the parameters. W starts as a random rotation.
/// Source: D. P. Kingma, P. Dhariwal, *Glow*, NeurIPS 2018, §3.2.
public final class Conv1x1<Scalar: KernelScalar>: FlowLayer {
  private let form: MatrixForm
  private let c: Int
  private var pixels = 0
  private var shape = ImageShape(height: 0, width: 0, channels: 0)

  private let weight: LayerParameter<Scalar>
  private let lower: LayerParameter<Scalar>
  private let upper: LayerParameter<Scalar>
  private let logScale: LayerParameter<Scalar>
  private let permutation: LayerParameter<Scalar>
  private let sign: LayerParameter<Scalar>

  private var matrix: [Double] = []
  private var inverseMatrix: [Double] = []
  private var logAbsDet = 0.0
  /// y = Wx and x = W⁻¹y as convolutions; their adjoints are Wᵀ and W⁻ᵀ.
  private var multiply: Convolution<Scalar>?
  private var divide: Convolution<Scalar>?
  private let scratchMatrix: Storage<Scalar>

  public init(channels c: Int, form: MatrixForm = .plu) throws {
    self.form = form
    self.c = c
    scratchMatrix = try Storage(count: c * c)
    let factors = { (random: inout Philox) in Factors(rotation: Self.rotation(c, &random), size: c) }
    weight = LayerParameter("weight", shape: [c, c]) { Self.rotation(c, &$0) }
    lower = LayerParameter("lower", shape: [c, c]) { factors(&$0).lower }
    upper = LayerParameter("upper", shape: [c, c]) { factors(&$0).upper }
    logScale = LayerParameter("log_scale", shape: [c]) { factors(&$0).logScale }
    permutation = LayerParameter("permutation", shape: [c], isTrainable: false) { factors(&$0).permutation }
    sign = LayerParameter("sign", shape: [c], isTrainable: false) { factors(&$0).sign }
  }

  public var parameters: [LayerParameter<Scalar>] {
    switch form {
    case .plu: [lower, upper, logScale, permutation, sign]
    case .dense: [weight]
    }
  }

  public var losesInput: Bool { false }

  public func configure(input: ImageShape) throws -> ImageShape {
    precondition(input.channels == c)
    shape = input
    pixels = input.height * input.width
    multiply = try Convolution(
      height: input.height, width: input.width, inChannels: c, outChannels: c, kernel: 1)
    divide = try Convolution(
      height: input.height, width: input.width, inChannels: c, outChannels: c, kernel: 1)
    return input
  }

  /// Lower and upper factor with their diagonals, from the parameters.
  private func pluFactors() -> (lower: [Double], upper: [Double]) {
    var l = [Double](repeating: 0, count: c * c)
    var u = l
    for i in 0..<c {
      for j in 0..<c {
        if j < i { l[i * c + j] = Double(lower.values[i * c + j]) }
        if j > i { u[i * c + j] = Double(upper.values[i * c + j]) }
      }
      l[i * c + i] = 1
      u[i * c + i] = Double(sign.values[i]) * exp(Double(logScale.values[i]))
    }
    return (l, u)
  }

  public func refresh() throws {
    switch form {
    case .dense:
      matrix = weight.values.elements.map { Double($0) }
    case .plu:
      let (l, u) = pluFactors()
      let product = multiplied(l, u)
      matrix = [Double](repeating: 0, count: c * c)
      var seen = Set<Int>()
      for i in 0..<c {
        let row = Double(permutation.values[i])
        guard row >= 0, row < Double(c), let row = Int(exactly: row), seen.insert(row).inserted else {
          throw FlowError.unusableParameters(name: "permutation", reason: "it is no permutation of 0..<\(c)")
        }
        guard abs(sign.values[i]) == 1 else {
          throw FlowError.unusableParameters(name: "sign", reason: "\(sign.values[i]), expected 1 or -1")
        }
        for j in 0..<c { matrix[row * c + j] = product[i * c + j] }
      }
    }
    do {
      (inverseMatrix, logAbsDet) = try invertMatrix(matrix, size: c)
    } catch {
      throw FlowError.unusableParameters(
        name: form == .plu ? "lower, upper" : "weight", reason: error.description)
    }
    if form == .plu { logAbsDet = logScale.values.elements.reduce(0) { $0 + Double($1) } }
    pack(matrix, into: multiply!)
    pack(inverseMatrix, into: divide!)
  }

  /// A convolution's weights are [in, out]: the transpose.
  private func pack(_ w: [Double], into convolution: Convolution<Scalar>) {
    for i in 0..<c {
      for j in 0..<c { scratchMatrix.memory[j * c + i] = Scalar(w[i * c + j]) }
    }
    convolution.pack(scratchMatrix.memory)
  }

  private func multiplied(_ a: [Double], _ b: [Double]) -> [Double] {
    var result = [Double](repeating: 0, count: c * c)
    for i in 0..<c {
      for k in 0..<c {
        for j in 0..<c { result[i * c + j] += a[i * c + k] * b[k * c + j] }
      }
    }
    return result
  }

  // MARK: Passes

  private enum Direction { case forward, adjoint }

  private func apply(
    _ convolution: Convolution<Scalar>, _ direction: Direction, _ pass: FlowPass<Scalar>,
    from: Memory<Scalar>,
    to: Memory<Scalar>
  ) throws {
    try pass.pool.split(pass.rows, minimum: max(1, 8192 / (shape.width * c))) { rows, worker in
      try pass.workspaces[worker].scope {
        let scratch = try pass.workspaces[worker].take(convolution.workspaceCount)
        switch direction {
        case .forward:
          convolution.forward(
            rows: rows, x: from, stride: c, bias: nil, epilogue: [], y: to, stride: c, scratch: scratch)
        case .adjoint:
          convolution.adjoint(
            rows: rows, cotangent: from, stride: c, epilogue: [], gate: nil, into: to, stride: c,
            scratch: scratch)
        }
      }
    }
  }

  public func forward(_ pass: FlowPass<Scalar>) throws {
    try pass.rewriteValues(to: shape) { try apply(multiply!, .forward, pass, from: $0, to: $1) }
    pass.addLogDet(Double(pixels) * logAbsDet)
  }

  public func inverse(_ pass: FlowPass<Scalar>) throws {
    try pass.rewriteValues(to: shape) { try apply(divide!, .forward, pass, from: $0, to: $1) }
    pass.addLogDet(-Double(pixels) * logAbsDet)
  }

  public func forwardVJP(_ pass: FlowPass<Scalar>) throws {
    let outputCotangent = pass.cotangent
    try pass.rewriteValues(to: shape) { try apply(divide!, .forward, pass, from: $0, to: $1) }
    if pass.wantsParameterGradients {
      try accumulateGradient(pass, x: pass.values, outputCotangent: outputCotangent, direction: 1)
    }
    try pass.rewriteCotangent { try apply(multiply!, .adjoint, pass, from: $0, to: $1) }
  }

  public func inverseVJP(_ pass: FlowPass<Scalar>) throws {
    let x = pass.values
    try pass.rewriteCotangent { try apply(divide!, .adjoint, pass, from: $0, to: $1) }
    if pass.wantsParameterGradients {
      try accumulateGradient(pass, x: x, outputCotangent: pass.cotangent, direction: -1)
    }
    try pass.rewriteValues(to: shape) { try apply(multiply!, .forward, pass, from: $0, to: $1) }
  }

  /// `W̄ += ±(Σ ȳxᵀ + (Σℓ̄)·h·w·W⁻ᵀ)`, with + through y = Wx. Through x = W⁻¹y, whose cotangent is x̄, the same sums
  /// appear with ȳ = W⁻ᵀx̄ and the sign −.
  private func accumulateGradient(
    _ pass: FlowPass<Scalar>, x: Memory<Scalar>, outputCotangent: Memory<Scalar>, direction: Double
  ) throws {
    var sum = [Double](repeating: 0, count: c * c)
    let height = shape.height
    try pass.accumulate(size: c * c) { images, partial, worker in
      try pass.workspaces[worker].scope {
        let scratch = try pass.workspaces[worker].take(multiply!.workspaceCount)
        multiply!.accumulateGradient(
          rows: images.lowerBound * height..<images.upperBound * height, x: x, stride: c,
          cotangent: outputCotangent, stride: c, weights: partial, bias: nil, scratch: scratch)
      }
    } add: { partial in
      for j in 0..<c {
        for i in 0..<c { sum[i * c + j] += Double(partial[j * c + i]) }
      }
    }
    let fromLogDet = pass.logDetCotangentSum * Double(pixels)
    switch form {
    case .dense:
      for i in 0..<c {
        for j in 0..<c {
          let value = sum[i * c + j] + fromLogDet * inverseMatrix[j * c + i]
          weight.gradient[i * c + j] += Scalar(direction * value)
        }
      }
    case .plu:
      // A = Pᵀ W̄; L̄ = A Uᵀ below the diagonal, Ū = Lᵀ A on and above it.
      let (l, u) = pluFactors()
      var a = sum
      for i in 0..<c {
        let row = Int(permutation.values[i])
        for j in 0..<c { a[i * c + j] = sum[row * c + j] }
      }
      for i in 0..<c {
        for j in 0..<i {
          var value = 0.0
          for k in 0..<c { value += a[i * c + k] * u[j * c + k] }
          lower.gradient[i * c + j] += Scalar(direction * value)
        }
        for j in i..<c {
          var value = 0.0
          for k in 0..<c { value += l[k * c + i] * a[k * c + j] }
          if j > i {
            upper.gradient[i * c + j] += Scalar(direction * value)
          } else {
            logScale.gradient[i] += Scalar(direction * (value * u[i * c + i] + fromLogDet))
          }
        }
      }
    }
  }

  // MARK: The start

  /// A random rotation: Gram–Schmidt on a matrix of normal numbers.
  private static func rotation(_ c: Int, _ random: inout Philox) -> [Double] {
    var q = (0..<c * c).map { _ in random.normal() }
    for i in 0..<c {
      // Twice is enough for orthogonality to working precision.
      for _ in 0..<2 {
        for j in 0..<i {
          var projection = 0.0
          for k in 0..<c { projection += q[i * c + k] * q[j * c + k] }
          for k in 0..<c { q[i * c + k] -= projection * q[j * c + k] }
        }
      }
      var norm = 0.0
      for k in 0..<c { norm += q[i * c + k] * q[i * c + k] }
      for k in 0..<c { q[i * c + k] /= norm.squareRoot() }
    }
    return q
  }

  /// The P, L, U, sign and log-scale of a matrix.
  private struct Factors {
    var lower: [Double]
    var upper: [Double]
    var logScale: [Double]
    var permutation: [Double]
    var sign: [Double]

    init(rotation: [Double], size c: Int) {
      var a = rotation
      var rows = Array(0..<c)
      for k in 0..<c {
        let pivot = (k..<c).max { abs(a[$0 * c + k]) < abs(a[$1 * c + k]) }!
        if pivot != k {
          for j in 0..<c { a.swapAt(k * c + j, pivot * c + j) }
          rows.swapAt(k, pivot)
        }
        for i in k + 1..<max(c, k + 1) {
          a[i * c + k] /= a[k * c + k]
          for j in k + 1..<max(c, k + 1) { a[i * c + j] -= a[i * c + k] * a[k * c + j] }
        }
      }
      lower = [Double](repeating: 0, count: c * c)
      upper = lower
      for i in 0..<c {
        for j in 0..<c {
          if j < i { lower[i * c + j] = a[i * c + j] }
          if j > i { upper[i * c + j] = a[i * c + j] }
        }
      }
      logScale = (0..<c).map { log(abs(a[$0 * c + $0])) }
      sign = (0..<c).map { a[$0 * c + $0] < 0 ? -1 : 1 }
      permutation = rows.map { Double($0) }
    }
  }
}
