import AIPOKernels
import AIPOPlatform

/// How the matrix of an invertible 1×1 convolution is held.
public enum MatrixForm: String, Codable, Sendable, CaseIterable {
  /// `W = P·L·(U + diag(sign·e^s))`: L unit lower triangular, U strictly upper, P and the signs fixed; log-det Σs.
  case plu
  /// W itself; `log|det W|` by LU.
  case dense
}

/// An invertible 1×1 convolution in a flow as data.
struct Conv1x1Kind: LayerKind {
  static let name = "conv1x1"
  static let plain: Self? = Self(form: .plu)
  var form: MatrixForm
  var reach: Int? { 0 }

  func multiplyAdds(for input: ImageShape) -> Int { input.channels * input.channels }

  func makeLayer<Scalar: KernelScalar>(
    for input: ImageShape, in flow: FlowSpec, _: Scalar.Type
  ) throws -> any FlowLayer<Scalar> { try Conv1x1<Scalar>(channels: input.channels, form: form) }
}

extension Conv1x1Kind {
  init(from decoder: any Decoder) throws {
    form = try KnownKeys(decoder, ["form"]).get("form", default: .plu)
  }
}

/// An invertible 1×1 convolution, `y = Wx` per pixel, log-det `h·w·log|det W|`.
///
/// W⁻¹ and log|det W| are computed once per change of the parameters. W starts as a random rotation. An actnorm before
/// it is folded into it: `y = W((x + b)∘e^s) = Ax + Ab` with `A = W·diag(e^s)`.
/// Source: D. P. Kingma, P. Dhariwal, *Glow*, NeurIPS 2018, §3.2.
public final class Conv1x1<Scalar: KernelScalar>: FlowLayer, KeepingLayer {
  private let form: MatrixForm
  private let c: Int

  private let weight: LayerParameter<Scalar>
  private let lower: LayerParameter<Scalar>
  private let upper: LayerParameter<Scalar>
  private let logScale: LayerParameter<Scalar>
  private let permutation: LayerParameter<Scalar>
  private let sign: LayerParameter<Scalar>

  /// The layer before this one, if it is folded into it.
  private var actnorm: Actnorm<Scalar>?

  private let matrix: SquareMatrix
  private let inverseMatrix: SquareMatrix
  /// log|det A|
  private var logAbsDet = 0.0
  /// y = Ax + Ab and x = A⁻¹y − b as convolutions; their adjoints are Aᵀ and A⁻ᵀ.
  private let multiply: ConvolutionWeights<Scalar>
  private let divide: ConvolutionWeights<Scalar>
  private let multiplyBias: Storage<Scalar>
  private let divideBias: Storage<Scalar>
  /// Weights on their way to a convolution.
  private let scratchMatrix: Storage<Scalar>
  private var sums: GradientSums?
  /// Pixels of the images whose gradients are summed.
  private var pixels = 0

  /// L and U with their diagonals.
  private struct Triangles {
    let lower: SquareMatrix
    let upper: SquareMatrix

    init(channels c: Int) throws { (lower, upper) = (try SquareMatrix(size: c), try SquareMatrix(size: c)) }
  }

  /// What the parameters' gradients are made of.
  private struct GradientSums {
    let triangles: Triangles
    /// ±Σ yȳᵀ
    let outer: SquareMatrix
    /// ±Σ ȳ and ±Σℓ̄
    let vector: Storage<Double>
    /// Room for products.
    let products: (SquareMatrix, SquareMatrix)

    init(channels c: Int) throws {
      triangles = try Triangles(channels: c)
      outer = try SquareMatrix(size: c)
      vector = try Storage(count: c + 1)
      products = (try SquareMatrix(size: c), try SquareMatrix(size: c))
    }
  }

  public init(channels c: Int, form: MatrixForm = .plu) throws {
    self.form = form
    self.c = c
    scratchMatrix = try Storage(count: c * c)
    multiplyBias = try Storage(count: c)
    divideBias = try Storage(count: c)
    multiply = try ConvolutionWeights(inChannels: c, outChannels: c, kernel: 1)
    divide = try ConvolutionWeights(inChannels: c, outChannels: c, kernel: 1)
    (matrix, inverseMatrix) = (try SquareMatrix(size: c), try SquareMatrix(size: c))
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

  /// Takes over the layer before this one: passes go through this layer alone.
  func fold(_ actnorm: Actnorm<Scalar>) {
    precondition(actnorm.bias.count == c)
    self.actnorm = actnorm
  }

  func keptCount(_ kept: GradientMemory.Kept, input: ImageShape, parameterGradients: Bool) -> Int {
    parameterGradients ? input.count : 0
  }

  func scratchCount(input: ImageShape, _ work: FlowWork) -> ScratchCount {
    let product = multiply.on(height: 1, width: input.width)
    let sums = work.parameterGradients ? 8 * (c * c + c + 16) : 0
    let each = product.workspaceCount + product.gradientWorkspaceCount + 64
    return ScratchCount(first: each + sums, others: each)
  }

  public func initialize(_ pass: FlowPass<Scalar>) throws { try actnorm?.initialize(pass) }

  public func output(for input: ImageShape) -> ImageShape {
    precondition(input.channels == c)
    return input
  }

  @_specialize(where Scalar == Float)
  @_specialize(where Scalar == Double)
  public func refresh() throws {
    switch form {
    case .dense: for k in 0..<c * c { matrix.elements[k] = Double(weight.values[k]) }
    case .plu: try multiplyFactors()
    }
    do {
      let (inverse, logAbsDet) = try invertMatrix(matrix.elements.elements, size: c)
      inverseMatrix.elements.copy(from: inverse)
      self.logAbsDet = logAbsDet
    } catch {
      throw FlowError.unusableParameters(
        name: form == .plu ? "lower, upper" : "weight", reason: error.description)
    }
    if form == .plu {
      logAbsDet = 0
      for k in 0..<c { logAbsDet += Double(logScale.values[k]) }
    }
    logAbsDet += actnorm?.logScaleSum ?? 0
    let scales = (0..<c).map { k in actnorm.map { exp(Double($0.logScale.values[k])) } ?? 1 }
    let shifts = (0..<c).map { k in actnorm.map { Double($0.bias.values[k]) } ?? 0 }
    for i in 0..<c {
      var shift = 0.0
      // A convolution's weights are [in, out]: the transpose.
      for j in 0..<c {
        let value = matrix[i, j] * scales[j]
        shift += value * shifts[j]
        scratchMatrix.memory[j * c + i] = Scalar(value)
      }
      multiplyBias.memory[i] = Scalar(shift)
      divideBias.memory[i] = Scalar(-shifts[i])
    }
    multiply.pack(scratchMatrix.memory)
    for i in 0..<c {
      for j in 0..<c { scratchMatrix.memory[j * c + i] = Scalar(inverseMatrix[i, j] / scales[i]) }
    }
    divide.pack(scratchMatrix.memory)
  }

  private func fill(_ triangles: Triangles) {
    for i in 0..<c {
      for j in 0..<c {
        triangles.lower[i, j] = j < i ? Double(lower.values[i * c + j]) : i == j ? 1 : 0
        triangles.upper[i, j] = j > i ? Double(upper.values[i * c + j]) : 0
      }
      triangles.upper[i, i] = Double(sign.values[i]) * exp(Double(logScale.values[i]))
    }
  }

  /// W from its factors.
  private func multiplyFactors() throws {
    // Only training needs them again.
    let triangles = try sums?.triangles ?? Triangles(channels: c)
    fill(triangles)
    let product = inverseMatrix  // which is computed anew after this
    product.set(to: .plain(triangles.lower), times: .plain(triangles.upper))
    var seen = Set<Int>()
    for i in 0..<c {
      let row = Double(permutation.values[i])
      guard row >= 0, row < Double(c), let row = Int(exactly: row), seen.insert(row).inserted else {
        throw FlowError.unusableParameters(name: "permutation", reason: "it is no permutation of 0..<\(c)")
      }
      guard abs(sign.values[i]) == 1 else {
        throw FlowError.unusableParameters(name: "sign", reason: "\(sign.values[i]), expected 1 or -1")
      }
      for j in 0..<c { matrix[row, j] = product[i, j] }
    }
  }

  // MARK: Passes

  private func apply(
    _ weights: ConvolutionWeights<Scalar>, bias: Storage<Scalar>, _ pass: FlowPass<Scalar>
  ) throws {
    let convolution = weights.on(height: pass.shape.height, width: pass.shape.width)
    try pass.rewriteValues(to: pass.shape) { from, to in
      try forRows(pass, convolution) { rows, scratch in
        convolution.forward(
          rows: rows, x: from, stride: c, bias: bias.memory, epilogue: [], y: to, stride: c, scratch: scratch)
      }
    }
  }

  private func applyAdjoint(_ weights: ConvolutionWeights<Scalar>, _ pass: FlowPass<Scalar>) throws {
    let convolution = weights.on(height: pass.shape.height, width: pass.shape.width)
    try pass.rewriteCotangent { from, to in
      try forRows(pass, convolution) { rows, scratch in
        convolution.adjoint(
          rows: rows, cotangent: from, stride: c, epilogue: [], mask: nil, into: to, stride: c,
          scratch: scratch)
      }
    }
  }

  private func forRows(
    _ pass: FlowPass<Scalar>, _ convolution: Convolution<Scalar>,
    _ body: (_ rows: Range<Int>, _ scratch: Memory<Scalar>) -> Void
  ) throws {
    let scratch = convolution.workspaceCount
    let least = ConvNet<Scalar>.RowRunner.least / (pass.shape.width * c * c)
    try pass.pool.split(pass.rows, minimum: max(1, least)) { rows, worker in
      try pass.workspaces[worker].scope { body(rows, try pass.workspaces[worker].take(scratch)) }
    }
  }

  @_specialize(where Scalar == Float)
  @_specialize(where Scalar == Double)
  public func forward(_ pass: FlowPass<Scalar>) throws {
    try apply(multiply, bias: multiplyBias, pass)
    pass.addLogDet(ofPixel: logAbsDet)
    if pass.kept != .nothing, pass.wantsParameterGradients { try pass.keep(pass.values) }
  }

  @_specialize(where Scalar == Float)
  @_specialize(where Scalar == Double)
  public func inverse(_ pass: FlowPass<Scalar>) throws {
    try apply(divide, bias: divideBias, pass)
    pass.addLogDet(ofPixel: -logAbsDet)
  }

  @_specialize(where Scalar == Float)
  @_specialize(where Scalar == Double)
  public func forwardVJP(_ pass: FlowPass<Scalar>) throws {
    if pass.wantsParameterGradients {
      try accumulateGradient(pass, y: pass.carriesValues ? pass.values : pass.recall(), direction: 1)
    }
    if pass.carriesValues { try apply(divide, bias: divideBias, pass) }
    try applyAdjoint(multiply, pass)
  }

  @_specialize(where Scalar == Float)
  @_specialize(where Scalar == Double)
  public func inverseVJP(_ pass: FlowPass<Scalar>) throws {
    if pass.carriesValues { try apply(multiply, bias: multiplyBias, pass) }
    try applyAdjoint(divide, pass)
    if pass.wantsParameterGradients { try accumulateGradient(pass, y: pass.values, direction: -1) }
  }

  /// Sums over y and its cotangent ȳ: that of the output of the forward direction (+), or what the inverse's way back
  /// gives to its input (−).
  private func accumulateGradient(_ pass: FlowPass<Scalar>, y: Memory<Scalar>, direction: Double) throws {
    let height = pass.shape.height
    let convolution = multiply.on(height: height, width: pass.shape.width)
    let cotangent = pass.cotangent
    let (c, outer, vector) = (c, sums!.outer.elements, sums!.vector.memory)
    try pass.accumulate(size: c * c + c) { images, partial, worker in
      try pass.workspaces[worker].scope {
        let scratch = try pass.workspaces[worker].take(convolution.gradientWorkspaceCount)
        convolution.accumulateGradient(
          rows: images.lowerBound * height..<images.upperBound * height, x: y, stride: c,
          cotangent: cotangent, stride: c, weights: partial[0..<c * c], bias: partial[c * c..<c * c + c],
          scratch: scratch)
      }
    } add: { partial in
      for k in 0..<c * c { outer[k] += direction * Double(partial[k]) }
      for k in 0..<c { vector[k] += direction * Double(partial[c * c + k]) }
    }
    for i in 0..<pass.count { vector[c] += direction * pass.logDetCotangent[i] }
  }

  func startGradient(input: ImageShape) throws {
    pixels = input.height * input.width
    if sums == nil {
      let new = try GradientSums(channels: c)
      if form == .plu { fill(new.triangles) }
      sums = new
    }
    let sums = sums!
    sums.outer.elements.fill(0)
    sums.vector.memory.fill(0)
  }

  /// With u = (x + b)∘e^s, y = Wu, from the sums ± over the batch:
  /// `W̄ += Σ ȳuᵀ + (Σℓ̄)·h·w·W⁻ᵀ`, `Σ ȳuᵀ = (Σ ȳyᵀ)W⁻ᵀ`; `s̄ += diag(Wᵀ Σ ȳuᵀ) + (Σℓ̄)·h·w`; `b̄ += e^s∘(Wᵀ Σȳ)`.
  @_specialize(where Scalar == Float)
  @_specialize(where Scalar == Double)
  func finishGradient() {
    let (outer, vector) = (sums!.outer, sums!.vector.memory)
    let (inputOuter, rest) = sums!.products
    let triangles = sums!.triangles
    // Weights are [in, out]: `outer` is the transpose of Σ ȳyᵀ.
    inputOuter.set(to: .transposed(outer), times: .transposed(inverseMatrix))
    let fromLogDet = vector[c] * Double(pixels)
    if let actnorm {
      for k in 0..<c {
        var (scale, shift) = (0.0, 0.0)
        for i in 0..<c {
          scale += matrix[i, k] * inputOuter[i, k]
          shift += matrix[i, k] * vector[i]
        }
        actnorm.logScale.gradient[k] += Scalar(scale + fromLogDet)
        actnorm.bias.gradient[k] += Scalar(exp(Double(actnorm.logScale.values[k])) * shift)
      }
    }
    switch form {
    case .dense:
      for i in 0..<c {
        for j in 0..<c {
          weight.gradient[i * c + j] += Scalar(inputOuter[i, j] + fromLogDet * inverseMatrix[j, i])
        }
      }
    case .plu:
      // A = Pᵀ W̄; L̄ = A Uᵀ below the diagonal, Ū = Lᵀ A on and above it.
      let a = outer
      for i in 0..<c {
        let row = Int(permutation.values[i])
        for j in 0..<c { a[i, j] = inputOuter[row, j] }
      }
      rest.set(to: .plain(a), times: .transposed(triangles.upper))
      for i in 0..<c {
        for j in 0..<i { lower.gradient[i * c + j] += Scalar(rest[i, j]) }
      }
      rest.set(to: .transposed(triangles.lower), times: .plain(a))
      for i in 0..<c {
        for j in i + 1..<max(c, i + 1) { upper.gradient[i * c + j] += Scalar(rest[i, j]) }
        logScale.gradient[i] += Scalar(rest[i, i] * triangles.upper[i, i] + fromLogDet)
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
