import AIPOFlowTesting
import AIPOKernels
import AIPOPriors
import AIPOProblems
import AIPOTestCases
import Testing

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

@Suite struct MapTests {
  @Test func mapsKeepTheirPromises() throws {
    for shape in testShapes {
      for (name, map) in try allMaps(shape) {
        for seed in 0..<3 as Range<UInt64> {
          for result in try MapChecks.measure(map, seed: seed) {
            #expect(result.holds, "\(shape) \(name): \(result)")
          }
        }
      }
    }
  }

  /// What check-operator tells: the worst of its vectors, of a derivative where the map isn't linear, and NaN before all.
  @Test func measuresOfMaps() throws {
    let shape = ImageShape(height: 4, width: 5, channels: 1)
    for (name, map) in try allMaps(shape) {
      let measures = try MapMeasures(map)
      #expect(measures.results.allSatisfy { $0.holds }, "\(name): \(measures.text)")
      #expect((measures.norm != nil) == (map is any LinearMap), "\(name)")
    }
    let wrong = try MapMeasures(HalfAdjoint(input: shape))
    #expect(wrong.adjoint > 1e-4 && wrong.results.map(\.holds) == [false, false, false])
    let broken = try MapMeasures(HalfAdjoint(input: shape, factor: .nan))
    #expect(broken.adjoint.isNaN && broken.results.map(\.holds) == [false, false, false])
  }

  /// The identity with half of itself, or something else, as its adjoint.
  private struct HalfAdjoint: LinearMap {
    let input: ImageShape
    var factor = 0.5
    var output: ImageShape { input }
    func apply(_ x: Vector, into y: Vector, _ scratch: Scratch) { y.set(x) }
    func adjoint(_ u: Vector, into x: Vector, _ scratch: Scratch) { x.setEach(nil, u) { factor * $0 } }
    func applyNormal(_ x: Vector, into z: Vector, _ scratch: Scratch) { z.set(x) }
  }

  /// Adjoints at many sizes: even, odd, prime, one row, one column, one to three channels.
  @Test func adjointsAtManySizes() throws {
    var worst = (mismatch: 0.0, name: "")
    for (h, w, c) in manySizes {
      let shape = ImageShape(height: h, width: w, channels: c)
      for (name, map) in try linearMaps(shape) {
        let mismatch = try MapChecks.adjointMismatch(map)
        if mismatch > worst.mismatch { worst = (mismatch, "\(shape) \(name)") }
      }
    }
    #expect(worst.mismatch <= 1e-12, "\(worst)")
  }

  private let manySizes = [
    (2, 3, 1), (2, 2, 1), (1, 2, 3), (2, 1, 1), (1, 17, 1), (19, 1, 3), (1, 8, 3), (3, 3, 1), (4, 4, 3),
    (5, 7, 1),
    (7, 5, 3), (8, 8, 1), (8, 6, 2), (11, 13, 1), (13, 11, 2), (9, 10, 3), (16, 3, 1), (3, 16, 3),
    (12, 12, 1),
    (17, 19, 1),
  ]

  /// The derivative of a map that isn't linear, as a linear map, is what `pullback` is the transpose of.
  @Test func derivatives() throws {
    for shape in testShapes {
      let (x, u) = (randomVector(shape.count, seed: 3), 4 as UInt64)
      for (name, map) in try nonlinearMaps(shape) where name != "saturation" {
        let linear = try #require(try x.asVector { try map.derivative(at: $0, Scratch()) })
        #expect(try MapChecks.adjointMismatch(linear) <= 1e-12, "\(shape) \(name)")
        let v = randomVector(map.output.count, seed: u)
        let pulled = try map.pullback(v, at: x)
        #expect(try distance(linear.adjoint(v), pulled) <= 1e-12 * norm(pulled), "\(shape) \(name)")
      }
      #expect(try x.asVector { try Saturation(input: shape).derivative(at: $0, Scratch()) } == nil)
    }
  }

  /// A matrix of maps against the matrix of their matrices.
  @Test func blocks() throws {
    let (a, b) = (ImageShape(height: 2, width: 3, channels: 1), ImageShape.vector(5))
    let maps: [[(any LinearMap)?]] = [
      [try DenseMap.gaussian(measurements: 4, input: a, seed: 1), nil],
      [
        try DenseMap.gaussian(measurements: 3, input: a, seed: 2),
        try DenseMap.gaussian(measurements: 3, input: b, seed: 3),
      ],
    ]
    let block = try BlockMap(maps)
    #expect(block.input == .vector(11) && block.output == .vector(7))
    let found = try block.matrix()
    for (i, row) in maps.enumerated() {
      for (j, map) in row.enumerated() {
        let part = try map?.matrix()
        for y in 0..<(i == 0 ? 4 : 3) {
          for x in 0..<(j == 0 ? 6 : 5) {
            #expect(found[(i == 0 ? 0 : 4) + y, (j == 0 ? 0 : 6) + x] == part?[y, x] ?? 0)
          }
        }
      }
    }
    for result in try MapChecks.measure(block) { #expect(result.holds, "\(result)") }
    #expect(throws: ProblemError.self) { try BlockMap([[nil], [maps[0][0]], [maps[1][1]]]) }
    #expect(throws: ProblemError.self) { try BlockMap([[nil, maps[0][0]]]) }
    #expect(throws: ProblemError.self) { try BlockMap([]) }
  }

  /// Both orders of a blur that differs from place to place against their sums.
  @Test func varyingBlurs() throws {
    let shape = ImageShape(height: 6, width: 9, channels: 1)
    let kernels = try [(3, 2), (2, 3), (3, 3)].map { try sharpKernel($0.0, $0.1) }
    // Kernel k has weight 1 at the middle of its third of the columns: 1, 4 and 7.
    func weight(_ k: Int, _ column: Int) -> Double {
      let place = min(max((Double(column) - 1) / 3, 0), 2)
      return max(0, 1 - (place - Double(k)).magnitude)
    }
    let x = randomVector(shape.count, seed: 6)
    for order in VaryingBlur.Order.allCases {
      let map = try VaryingBlur(
        shape, kernels: kernels, rows: 1, columns: 3, order: order, boundary: .zero)
      var expected = [Double](repeating: 0, count: shape.count)
      for (k, kernel) in kernels.enumerated() {
        let weighted = x.indices.map { (order == .image ? weight(k, $0 % 9) : 1) * x[$0] }
        let blurred = try ConvolutionMap(shape, kernel: kernel, boundary: .zero).apply(weighted)
        expected = adding(
          expected, blurred.indices.map { (order == .image ? 1 : weight(k, $0 % 9)) * blurred[$0] })
      }
      #expect(try distance(map.apply(x), expected) < 1e-13)
    }
    // Of equal kernels it is their convolution.
    let same = try VaryingBlur(shape, kernels: [kernels[0], kernels[0]], rows: 2, columns: 1)
    #expect(try distance(same.apply(x), ConvolutionMap(shape, kernel: kernels[0]).apply(x)) < 1e-13)
    #expect(throws: ProblemError.self) { try VaryingBlur(shape, kernels: kernels, rows: 2, columns: 2) }
    #expect(throws: ProblemError.self) {
      try VaryingBlur(shape, kernels: kernels, rows: 1, columns: 3, boundary: .valid)
    }
  }

  @Test func differences() throws {
    let map = try FiniteDifferences(ImageShape(height: 2, width: 3, channels: 1))
    let x = [1.0, 2, 4, 8, 16, 32]
    #expect(try map.apply(x) == [7, 14, 28, 0, 0, 0, 1, 2, 0, 8, 16, 0])
    let circular = try FiniteDifferences(ImageShape(height: 2, width: 3, channels: 1), isCircular: true)
    #expect(try circular.apply(x) == [7, 14, 28, -7, -14, -28, 1, 2, -3, 8, 16, -24])
  }

  /// The same bits on any number of threads where an image is more than a block of the vectors' verbs.
  @Test func largeImagesOnSeveralThreads() throws {
    let shape = ImageShape(height: 113, width: 109, channels: 3)
    let maps: [any Map] = [
      IdentityMap(shape), try MaskMap(shape, mask: (0..<shape.count).map { $0 % 3 != 1 }),
      Saturation(input: shape),
    ]
    for map in maps {
      let x = try Tensor(randomVector(shape.count, seed: 4))
      #expect(try MapChecks.differingValues(map, at: x) == 0)
    }
  }

  /// The noise made white leaves a map of which everything holds, too, and whose AᵀA is `AᵀΣ⁻¹A`.
  @Test func whitenedMapsKeepTheirPromises() throws {
    for shape in testShapes {
      for (name, map) in try linearMaps(shape) where map.output.count > 0 {
        for (law, noise, covariance) in try gaussianNoises(map.output.count) {
          let white = try noise.whitened(map, Scratch())
          for result in try MapChecks.measure(white) {
            #expect(result.holds, "\(shape) \(name), \(law): \(result)")
          }
          let x = randomVector(shape.count, seed: 6)
          let expected = try map.adjoint(covariance.inverted().inverse.times(map.apply(x)))
          let found = try white.adjoint(white.apply(x)).map { $0 / noise.whiteVariance }
          #expect(distance(found, expected) <= 1e-9 * norm(expected), "\(shape) \(name), \(law)")
        }
      }
    }
  }

  /// Masks and matrices by what they must give.
  @Test func products() throws {
    let shape = ImageShape(height: 1, width: 2, channels: 3)
    let mask = try MaskMap(shape, mask: [true, false, false, true, true, false])
    #expect(try mask.apply([1, 2, 3, 4, 5, 6]) == [1, 4, 5])
    #expect(try mask.adjoint([7, 8, 9]) == [7, 0, 0, 8, 9, 0])
    let rows = try Matrix(rows: 2, columns: 6, rowMajor: (1...12).map { Double($0) })
    let dense = try DenseMap(rows, input: shape)
    #expect(try dense.apply([1, 0, 0, 0, 0, 2]) == [13, 31])
    #expect(try dense.adjoint([1, -1]) == [Double](repeating: -6, count: 6))
    #expect(try dense.matrix() == rows)
    #expect(throws: ProblemError.self) { try MaskMap(shape, mask: [true]) }
    #expect(throws: ProblemError.self) { try DenseMap(rows, input: .vector(5)) }
    #expect(throws: ProblemError.self) {
      try DenseMap(Matrix(rows: 1, columns: 2, rowMajor: [1, .nan]), input: .vector(2))
    }
  }

  /// ‖A‖ and ‖A‖²_F/d against a dense decomposition.
  @Test func sizes() throws {
    for shape in testShapes {
      for (name, map) in try linearMaps(shape) {
        let matrix = try map.matrix()
        let values = try matrix.transposedTimes(matrix).symmetricEigen().values
        let norm = max(values.last ?? 0, 0).squareRoot()
        #expect((try MapChecks.norm(map) - norm).magnitude <= 1e-8 * norm, "\(shape) \(name)")
        let mean = max(values.reduce(0, +), 0) / Double(shape.count)
        let isKnown = map.normal.isFactored || map.normal.isStationary
        let found = try map.meanSquare(Scratch())
        #expect((found - mean).magnitude <= (isKnown ? 1e-12 : 1) * mean + 1e-15, "\(shape) \(name)")
      }
    }
  }

  @Test func coverage() throws {
    let expected: [String: Coverage] = [
      "identity": .whole, "mask of nothing": .whole, "tall": .whole, "mask": .pixels,
      "mask of everything": .pixels, "user's own, pixelwise": .pixels,
      "blur, circular": .whole, "every second pixel": .pixels, "colour filter array": .pixels,
      "scaled": .whole, "stack of blurs": .whole, "stack of masks": .whole,
    ]
    for shape in testShapes {
      for (name, map) in try nonlinearMaps(shape) {
        #expect(Coverage(of: map) == .nonlinear, "\(shape) \(name)")
      }
      for (name, map) in try linearMaps(shape) where name != "square" && name != "k-space" {
        #expect(Coverage(of: map) == expected[name] ?? .sums, "\(shape) \(name)")
      }
    }
    // Of full rank, but of little of one direction.
    func diagonal(_ least: Double) throws -> DenseMap {
      try DenseMap(
        try Matrix(rows: 3, columns: 3) { $0 == $1 ? ($0 == 2 ? least : 1) : 0 }, input: .vector(3))
    }
    #expect(Coverage(of: try diagonal(2e-3)) == .whole)
    #expect(Coverage(of: try diagonal(5e-4)) == .sums)
  }

  /// `w·(A diag(s))ᵀ(A diag(s)) + diag(c)`, exactly, or where A is known by its products alone by conjugate gradients.
  @Test func metricsInvertTheCurvature() throws {
    for shape in testShapes {
      let d = shape.count
      for (name, map) in try linearMaps(shape) {
        let tolerance = map.normal.isFactored ? 1e-8 : 1e-4
        for (weight, scale) in [(100.0, 3.0), (0.0, 2.0), (1e4, 300.0)] {
          for slopes in [nil, (0..<d).map { 0.2 + 0.3 * Double($0 % 4) }] {
            let damping = (0..<d).map { scale * (1 + Double($0 % 5)) }
            let v = randomVector(d, seed: 9)
            let metric = try Metric(
              of: map, weight: weight, slopes: try slopes.map { try Tensor($0) }, damping: try Tensor(damping)
            )
            let x = try metric.solve(v)
            func sloped(_ x: [Double]) -> [Double] { slopes.map { zip($0, x).map(*) } ?? x }
            let image = adding(
              zip(x, damping).map(*), sloped(try map.adjoint(map.apply(sloped(x)))), scaledBy: weight)
            #expect(distance(image, v) <= tolerance * norm(v), "\(shape) \(name) \(weight)")
          }
        }
      }
    }
  }

  /// Where the noise is next to nothing, `A⁺y` by the eigenvectors of AᵀA: least squares, and nothing in the null space.
  @Test func leastSquaresAreThePseudoInverse() throws {
    for shape in testShapes {
      for (name, map) in try linearMaps(shape) where name != "square" {
        let y = try map.apply(randomVector(shape.count, seed: 7))
        let matrix = try map.matrix()
        let (values, vectors) = try matrix.transposedTimes(matrix).symmetricEigen()
        let right = try map.adjoint(y)
        var expected = [Double](repeating: 0, count: shape.count)
        for (k, value) in values.enumerated() where value > 1e-10 {
          let vector = (0..<shape.count).map { vectors[$0, k] }
          expected = adding(expected, vector, scaledBy: dot(vector, right) / value)
        }
        let noise = try GaussianNoise(sigma: 1e-9)
        let x = try map.leastSquares(y, noise: noise)
        #expect(distance(x, expected) <= 1e-7 * (1 + norm(expected)), "\(shape) \(name)")
        // Weights change nothing where the measurements can all be met.
        let weighted = try GaussianNoise(sigmas: y.indices.map { 1e-9 * (1 + Double($0 % 2)) })
        let other = try map.leastSquares(y, noise: weighted)
        #expect(try distance(map.apply(other), y) <= 1e-7 * (1 + norm(y)), "\(shape) \(name)")
      }
    }
  }

  /// Directions that noise drowns are left at 0, and the residual is what the noise leads to expect.
  @Test func leastSquaresStopAtTheNoise() throws {
    let d = 45
    // Singular values from 1 to 1e-6 along random directions.
    let vectors = try randomCovariance(d, seed: 3).symmetricEigen().vectors
    let matrix = try Matrix(rows: d, columns: d) { i, j in
      pow(10, -6 * Double(i) / Double(d - 1)) * vectors[j, i]
    }
    let map = try DenseMap(matrix, input: testShapes[1])
    let truth = randomVector(d, seed: 8)
    let sigma = 0.03
    let y = adding(try map.apply(truth), randomVector(d, seed: 9), scaledBy: sigma)
    let x = try map.leastSquares(y, noise: try GaussianNoise(sigma: sigma))
    let residual = distance(try map.apply(x), y) / (sigma * Double(d).squareRoot())
    #expect(residual <= 1 && residual > 0.5, "\(residual)")
    #expect(norm(x) < 1.5 * norm(truth))
    // What is all noise starts from nothing; a mean of the noise is no image.
    #expect(try map.leastSquares(y, noise: GaussianNoise(sigma: 100)).allSatisfy { $0 == 0 })
    let offset = [Double](repeating: 5, count: d)
    let shifted = try map.leastSquares(
      adding(y, offset), noise: GaussianNoise(sigmas: [Double](repeating: sigma, count: d), mean: offset))
    #expect(distance(shifted, x) < 1e-6 * norm(x))
  }

  @Test func sensingMatrixHasItsVarianceAndDependsOnTheSeedAlone() throws {
    let shape = ImageShape(height: 4, width: 25, channels: 1)
    func matrix(seed: UInt64) throws -> Matrix {
      try DenseMap.gaussian(measurements: 40, input: shape, seed: seed).matrix
    }
    let a = try matrix(seed: 3)
    #expect(try matrix(seed: 3) == a)
    #expect(try matrix(seed: 4) != a)
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

// MARK: Wrong maps

/// A map by functions, right or wrong.
private struct AnyLinearMap: LinearMap {
  let input: ImageShape
  var output: ImageShape { input }
  var normal: NormalForm = .unknown
  let forward: @Sendable (_ x: Vector, _ y: Vector, Scratch) -> Void
  let backward: @Sendable (_ u: Vector, _ x: Vector, Scratch) -> Void

  func apply(_ x: Vector, into y: Vector, _ scratch: Scratch) { forward(x, y, scratch) }
  func adjoint(_ u: Vector, into x: Vector, _ scratch: Scratch) { backward(u, x, scratch) }
}

private struct WrongDerivative: Map {
  let input: ImageShape
  var output: ImageShape { input }
  func apply(_ x: Vector, into y: Vector, _ scratch: Scratch) { y.setEach(nil, x) { $0 / (1 + $0 * $0) } }
  func pullback(_ u: Vector, at x: Vector, into g: Vector, _ scratch: Scratch) {
    g.setEach(nil, u, x) { $0 * (1 - $1 * $1) / (1 + $1 * $1) }
  }
}

/// What the checks are for.
@Suite struct WrongMapTests {
  private let shape = ImageShape(height: 5, width: 3, channels: 3)

  /// The properties that a map fails.
  private func failures(_ map: any Map) throws -> [String] {
    try MapChecks.measure(map).filter { !$0.holds }.map(\.property)
  }

  private let pullback = "pullback against central differences"
  private let adjoint = "adjoint (dot test)"
  private let normal = "normal form against products"
  private let threads = "values that differ on 1, 2 and 5 threads"

  @Test func wrongAdjoints() throws {
    let d = shape.count
    // A shift that repeats the border, whose adjoint would sum what the border gets.
    let border = AnyLinearMap(
      input: shape, forward: { x, y, _ in for i in 0..<d { y[i] = x[min(i + 1, d - 1)] } },
      backward: { u, x, _ in for i in 0..<d { x[i] = u[max(i - 1, 0)] } })
    #expect(try failures(border) == [pullback, adjoint])
    let scaled = AnyLinearMap(
      input: shape, forward: { x, y, _ in y.set(x) }, backward: { u, x, _ in x.set(1 + 1e-9, u, plus: 0) })
    #expect(try failures(scaled) == [adjoint])
  }

  @Test func outputsThatAreNotOverwritten() throws {
    let adds = AnyLinearMap(
      input: shape, forward: { x, y, _ in y.add(x) }, backward: { u, x, _ in x.set(u) })
    #expect(try failures(adds).contains(adjoint))
    let leaves = AnyLinearMap(
      input: shape,
      forward: { x, y, _ in
        y.set(x)
        y[3] = 0
      }, backward: { u, x, _ in for i in 0..<u.count where i != 3 { x[i] = u[i] } })
    #expect(try failures(leaves) == [pullback, adjoint, normal])
  }

  @Test func wrongNormalForms() throws {
    let d = shape.count
    func claiming(_ normal: NormalForm, times factor: Double) -> AnyLinearMap {
      AnyLinearMap(
        input: shape, normal: normal, forward: { x, y, _ in y.set(factor, x, plus: 0) },
        backward: { u, x, _ in x.set(factor, u, plus: 0) })
    }
    let ones = try Tensor([Double](repeating: 1, count: d))
    #expect(try failures(claiming(.pixelwise(ones), times: 1)) == [])
    #expect(try failures(claiming(.pixelwise(ones), times: 2)) == [normal])
    #expect(try failures(claiming(.pixelwise(try Tensor([1, 1])), times: 1)) == [normal])
    let unit = try Matrix(rows: d, columns: d) { $0 == $1 ? 1 : 0 }
    #expect(try failures(claiming(.dense(unit), times: 1)) == [])
    // AᵀA is the same, A isn't.
    #expect(try failures(claiming(.dense(unit), times: -1)) == [normal])
    // AᵀA is the identity, but measurements see two values.
    let c = 0.5.squareRoot()
    let turned = AnyLinearMap(
      input: shape, normal: .pixelwise(ones),
      forward: { x, y, _ in
        y.set(x)
        (y[0], y[1]) = (c * (x[0] - x[1]), c * (x[0] + x[1]))
      },
      backward: { u, x, _ in
        x.set(u)
        (x[0], x[1]) = (c * (u[0] + u[1]), c * (u[1] - u[0]))
      })
    #expect(try failures(turned) == [normal])
  }

  @Test func wrongDerivatives() throws {
    #expect(try failures(Saturation(input: shape)) == [])
    #expect(try failures(WrongDerivative(input: shape)) == [pullback])
  }

  @Test func resultsThatHangOnThreads() throws {
    let hanging = AnyLinearMap(
      input: shape, forward: { x, y, scratch in y.set(1 + 1e-15 * Double(scratch.pool.threads), x, plus: 0) },
      backward: { u, x, _ in x.set(u) })
    #expect(try failures(hanging) == [threads])
  }
}
