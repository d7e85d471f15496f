import AIPOFlowTesting
import AIPOInverseProblems
import AIPOKernels
import Testing

/// A user's operator that gives only what it must: a cyclic second difference.
struct CyclicDifference: LinearOperator {
  let inputCount: Int
  var outputCount: Int { inputCount }
  var isInjective: Bool { false }

  func apply(_ x: [Double]) -> [Double] {
    x.indices.map { 2 * x[$0] - x[($0 + 1) % x.count] - x[($0 + x.count - 1) % x.count] }
  }
  func adjoint(_ u: [Double]) -> [Double] { apply(u) }
}

/// A non-linear operator with its derivative.
struct Saturation: ForwardOperator {
  let inputCount: Int
  var outputCount: Int { inputCount }
  func apply(_ x: [Double]) -> [Double] { x.map { $0 / (1 + $0 * $0) } }
  func vjp(at x: [Double], _ u: [Double]) -> [Double] {
    x.indices.map { u[$0] * (1 - x[$0] * x[$0]) / ((1 + x[$0] * x[$0]) * (1 + x[$0] * x[$0])) }
  }
}

func randomVector(_ n: Int, seed: UInt64) -> [Double] {
  var random = Philox(seed: seed, purpose: .test)
  return (0..<n).map { _ in random.normal() }
}

/// Every operator, at d = 12: a new one is tested by a line here.
func allOperators() throws -> [(name: String, value: any LinearOperator)] {
  let d = 12
  var deficient = try Matrix(rows: 6, columns: d)
  let row = randomVector(d, seed: 5)
  for i in 0..<6 { for j in 0..<d { deficient[i, j] = Double(i - 2) * row[j] } }
  return [
    ("identity", IdentityOperator(count: d)),
    ("mask", MaskOperator(mask: (0..<d).map { $0 % 3 != 1 })),
    ("mask of everything", MaskOperator(mask: [Bool](repeating: false, count: d))),
    ("mask of nothing", MaskOperator(mask: [Bool](repeating: true, count: d))),
    ("wide", try DenseOperator.gaussian(measurements: 5, inputCount: d, seed: 1)),
    ("square", try DenseOperator.gaussian(measurements: d, inputCount: d, seed: 2)),
    ("tall", try DenseOperator.gaussian(measurements: 20, inputCount: d, seed: 3)),
    ("rank one", try DenseOperator(deficient)),
    ("zero", try DenseOperator(try Matrix(rows: 4, columns: d))),
    ("user", CyclicDifference(inputCount: d)),
  ]
}

@Suite struct OperatorTests {
  @Test func adjointIsTheAdjoint() throws {
    for (name, a) in try allOperators() {
      for seed in 0..<3 {
        #expect(OperatorChecks.adjointMismatch(a, seed: UInt64(seed)) <= 1e-12, "\(name)")
      }
    }
    #expect(
      OperatorChecks.vjpMismatch(Saturation(inputCount: 9), at: randomVector(9, seed: 1)) <= 1e-9)
  }

  /// The four Moore–Penrose conditions by their effect: A A⁺ y is the projection on the range, A⁺y is in
  /// the row space.
  @Test func pseudoInverseIsLeastSquaresOfLeastNorm() throws {
    for (name, a) in try allOperators() {
      let y = randomVector(a.outputCount, seed: 7)
      let x = try a.pseudoInverse(y)
      #expect(x.allSatisfy { $0.isFinite }, "\(name)")
      let residual = adding(y, a.apply(x), scaledBy: -1)
      #expect(norm(a.adjoint(residual)) <= 1e-8 * (1 + norm(y)), "\(name)")
      let again = try a.pseudoInverse(a.apply(x))
      #expect(norm(adding(again, x, scaledBy: -1)) <= 1e-8 * (1 + norm(x)), "\(name)")
    }
  }

  @Test func injectivity() throws {
    let expected: Set = ["identity", "mask of nothing", "square", "tall"]
    for (name, a) in try allOperators() { #expect(a.isInjective == expected.contains(name), "\(name)") }
  }

  @Test func curvatureSolveInvertsTheCurvature() throws {
    for (name, a) in try allOperators() {
      for (weight, scale) in [(100.0, 3.0), (0.0, 2.0), (1e4, 300.0)] {
        let damping = (0..<12).map { scale * (1 + Double($0 % 5)) }
        let v = randomVector(12, seed: 9)
        let x = try a.curvatureSolver(dataWeight: weight, damping: damping).solve(v)
        let image = adding(
          x.indices.map { x[$0] * damping[$0] }, a.adjoint(a.apply(x)), scaledBy: weight)
        #expect(norm(adding(image, v, scaledBy: -1)) <= 1e-8 * norm(v), "\(name) \(weight)")
      }
    }
  }

  @Test func sensingMatrixHasItsVarianceAndDependsOnTheSeedAlone() throws {
    let a = try DenseOperator.gaussian(measurements: 40, inputCount: 100, seed: 3).matrix
    #expect(try DenseOperator.gaussian(measurements: 40, inputCount: 100, seed: 3).matrix == a)
    #expect(try DenseOperator.gaussian(measurements: 40, inputCount: 100, seed: 4).matrix != a)
    let square = a.columnMajor.reduce(0.0) { $0 + $1 * $1 } / 4000
    #expect((square * 40 - 1).magnitude < 0.1)
  }

  @Test func masksHideWhatTheySay() throws {
    let shape = ImageShape(height: 6, width: 8, channels: 2)
    let center = try MaskPattern(parsing: "center:2").observed(shape, seed: 0, index: 0)
    #expect(center.count { !$0 } == 8)
    #expect(!center[(2 * 8 + 3) * 2] && !center[(3 * 8 + 4) * 2 + 1] && center[(2 * 8 + 2) * 2])
    let box = try MaskPattern(parsing: "box:1,2,3,4").observed(shape, seed: 0, index: 0)
    #expect(box.count { !$0 } == 24 && !box[(1 * 8 + 2) * 2] && box[0])
    let random = MaskPattern.random(0.5)
    let wide = ImageShape(height: 40, width: 50, channels: 1)
    let one = try random.observed(wide, seed: 1, index: 5)
    #expect(try random.observed(wide, seed: 1, index: 5) == one)
    #expect(try random.observed(wide, seed: 1, index: 6) != one)
    #expect((Double(one.count { $0 }) / 2000 - 0.5).magnitude < 0.06)
    #expect(try MaskPattern.random(1).observed(wide, seed: 1, index: 0).allSatisfy { !$0 })
    #expect(try MaskPattern.random(0).observed(wide, seed: 1, index: 0).allSatisfy { $0 })
    for text in ["center:7", "box:5,0,2,1"] {
      #expect(throws: ProblemError.self) {
        try MaskPattern(parsing: text).observed(shape, seed: 0, index: 0)
      }
    }
    for text in ["center", "center:-1", "center:x", "box:1,2,3", "random:1.5", "random:nan", "ring:3"] {
      #expect(throws: ProblemError.self) { try MaskPattern(parsing: text) }
    }
  }
}

@Suite struct ProblemTests {
  let shape = ImageShape(height: 2, width: 3, channels: 1)

  @Test func gaussianNoiseHasItsConstants() throws {
    let noise = try GaussianNoise(sigma: 0.5)
    let (value, gradient) = noise.negativeLogLikelihood([1, 2], prediction: [0, 2.5])
    // −log N(1; 0, ¼) − log N(2; 2.5, ¼)
    #expect((value - (2 + 0.5 + 2 * (0.5 * 1.8378770664093453 - 0.6931471805599453))).magnitude < 1e-12)
    #expect(gradient == [-4, 2])
    for sigma in [0, -1, Double.nan, .infinity, 1e-200] {
      #expect(throws: ProblemError.self) { try GaussianNoise(sigma: sigma) }
    }
  }

  @Test func observationsAreChecked() throws {
    let noise = try GaussianNoise(sigma: 0.1)
    let identity = IdentityOperator(count: 6)
    #expect(throws: ProblemError.shapeMismatch(what: "observation 0", found: [5], expected: [6])) {
      try InverseProblem(
        operators: [identity], noise: noise, observations: [[Double](repeating: 0, count: 5)],
        imageShape: shape)
    }
    #expect(throws: ProblemError.self) {
      try InverseProblem(
        operators: [identity], noise: noise, observations: [[0, 0, .nan, 0, 0, 0]], imageShape: shape)
    }
    #expect(throws: ProblemError.self) {
      try InverseProblem(
        operators: [IdentityOperator(count: 7)], noise: noise, observations: [], imageShape: shape)
    }
    #expect(throws: ProblemError.self) {
      try InverseProblem(
        operators: [identity], noise: noise,
        observation: try Tensor<Float>(shape: [1, 3, 2, 1]), imageShape: shape)
    }
    #expect(throws: ProblemError.self) {
      try DenseOperator(Matrix(rows: 1, columns: 2, rowMajor: [1, .nan]))
    }
  }

  @Test func hiddenPixelsMayBeAnything() throws {
    let mask = MaskOperator(mask: [true, false, true, true, false, true])
    let image = try Tensor<Float>(
      shape: [1, 2, 3, 1], elements: [1, .nan, 2, 3, .infinity, 4] as [Float])
    let problem = try InverseProblem(
      operators: [mask], noise: try GaussianNoise(sigma: 0.1), observation: image, imageShape: shape)
    #expect(problem.observations == [[1, 2, 3, 4]])
    let bad = try Tensor<Float>(shape: [1, 2, 3, 1], elements: [.nan, 0, 2, 3, 0, 4] as [Float])
    #expect(throws: ProblemError.self) {
      try InverseProblem(
        operators: [mask], noise: try GaussianNoise(sigma: 0.1), observation: bad, imageShape: shape)
    }
  }
}
