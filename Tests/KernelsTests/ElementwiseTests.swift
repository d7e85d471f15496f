import CAIPOKernels
import Foundation
import Testing

@testable import AIPOKernels

/// The elementwise kernels against their formulas in plain Swift, in both precisions.
@Suite struct ElementwiseTests {
  static let types: [any KernelScalar.Type] = [Float.self, Double.self]

  private func close<T: KernelScalar>(
    _ found: [Double], _ expected: [Double], _: T.Type, ulps: Double = 8, _ what: Comment,
    sourceLocation: SourceLocation = #_sourceLocation
  ) {
    for (a, b) in zip(found, expected) {
      let fine = (a - b).magnitude <= ulps * Double(T.ulpOfOne) * max(1, b.magnitude)
      #expect(fine, "\(what.rawValue), \(T.self): \(a) for \(b)", sourceLocation: sourceLocation)
      if !fine { return }
    }
    #expect(found.count == expected.count, sourceLocation: sourceLocation)
  }

  // MARK: Actnorm

  /// Channel counts about the stack buffers of the kernels (256), too.
  @Test(arguments: types, [(1, 1), (7, 3), (5, 16), (2, 300)])
  func actnorm(_ type: any KernelScalar.Type, _ size: (Int, Int)) throws {
    try actnorm(type, pixels: size.0, channels: size.1)
  }

  private func actnorm<T: KernelScalar>(_: T.Type, pixels: Int, channels c: Int) throws {
    let b = normals(c, seed: 1)
    let s = normals(c, seed: 2, scale: 0.5)
    let x = normals(pixels * c, seed: 3)
    let bias = try TestArray<T>(b)
    let logScale = try TestArray<T>(s)
    let values = try TestArray<T>(x)
    let y = x.indices.map { (x[$0] + b[$0 % c]) * exp(s[$0 % c]) }
    Kernel.actnorm(values.memory, .forward, bias: bias.memory, logScale: logScale.memory)
    close(values.doubles, y, T.self, "actnorm")
    Kernel.actnorm(values.memory, .inverse, bias: bias.memory, logScale: logScale.memory)
    close(values.doubles, x, T.self, ulps: 40, "actnorm's inverse")

    let g = normals(pixels * c, seed: 4)
    func sums(_ term: (Int) -> Double) -> [Double] {
      (0..<c).map { k in stride(from: k, to: pixels * c, by: c).reduce(1.0) { $0 + term($1) } }
    }
    let db = try TestArray<Double>([Double](repeating: 1, count: c))
    let ds = try TestArray<Double>([Double](repeating: 1, count: c))
    let output = try TestArray<T>(y)
    let cotangent = try TestArray<T>(g)
    Kernel.actnormVJP(
      output.memory, cotangent: cotangent.memory, .forward, bias: bias.memory, logScale: logScale.memory,
      biasGradient: db.memory, logScaleGradient: ds.memory)
    close(output.doubles, x, T.self, ulps: 40, "x back through actnorm")
    close(cotangent.doubles, g.indices.map { g[$0] * exp(s[$0 % c]) }, T.self, "cotangent through actnorm")
    close(db.doubles, sums { g[$0] * exp(s[$0 % c]) }, T.self, ulps: 60, "bias gradient")
    close(ds.doubles, sums { g[$0] * y[$0] }, T.self, ulps: 60, "log-scale gradient")

    let input = try TestArray<T>(x)
    let inputCotangent = try TestArray<T>(g)
    db.memory.fill(1)
    ds.memory.fill(1)
    Kernel.actnormVJP(
      input.memory, cotangent: inputCotangent.memory, .inverse, bias: bias.memory, logScale: logScale.memory,
      biasGradient: db.memory, logScaleGradient: ds.memory)
    close(input.doubles, y, T.self, "y back through the inverse")
    close(
      inputCotangent.doubles, g.indices.map { g[$0] / exp(s[$0 % c]) }, T.self,
      "cotangent through the inverse")
    close(db.doubles, sums { -g[$0] }, T.self, ulps: 60, "bias gradient of the inverse")
    close(
      ds.doubles, sums { -g[$0] * (x[$0] + b[$0 % c]) }, T.self, ulps: 60, "log-scale gradient of the inverse"
    )
    // Without values the cotangent goes alone.
    for (direction, expected) in [(Kernel<T>.Direction.forward, cotangent), (.inverse, inputCotangent)] {
      let alone = try TestArray<T>(g)
      Kernel.actnormVJP(
        nil, cotangent: alone.memory, direction, bias: bias.memory, logScale: logScale.memory,
        biasGradient: nil, logScaleGradient: nil)
      #expect(alone.memory.elements == expected.memory.elements)
    }
  }

  @Test func moments() throws {
    let x = normals(35, seed: 1).map { $0 + 1000 }
    let (mean, variance) = Kernel<Double>.moments(try TestArray<Double>(x).memory, channels: 5)
    for c in 0..<5 {
      let values = stride(from: c, to: 35, by: 5).map { x[$0] }
      let average = values.reduce(0, +) / 7
      #expect(abs(mean[c] - average) < 1e-10)
      #expect(abs(variance[c] - values.reduce(0) { $0 + ($1 - average) * ($1 - average) } / 7) < 1e-10)
    }
  }

  // MARK: Coupling transform

  private static func logScale(_ scale: Int32, _ s: Double) -> (l: Double, slope: Double) {
    switch scale {
    case 0:
      let u = s + 2
      return (min(u, 0) - log1p(exp(-abs(u))), u > 0 ? exp(-u) / (1 + exp(-u)) : 1 / (1 + exp(u)))
    case 1: return (2 * tanh(s / 2), 1 - tanh(s / 2) * tanh(s / 2))
    default: return (0, 0)
    }
  }

  @Test(arguments: types, [(1, 1), (2, 3), (5, 130), (3, 300)])
  func affine(_ type: any KernelScalar.Type, _ size: (Int, Int)) throws {
    for scale: Int32 in 0...2 {
      for parity in [nil, 0, 1] {
        try affine(type, width: size.0, channels: size.1, scale: scale, parity: parity)
      }
    }
  }

  private func affine<T: KernelScalar>(_: T.Type, width: Int, channels c: Int, scale: Int32, parity: Int?)
    throws
  {
    let (images, height, stride) = (2, 3, c + 2)
    let rows = images * height
    let affine = Kernel<T>.Affine(.init(rawValue: scale)!)
    let shape = Kernel<T>.CouplingShape(
      parity: parity, height: height, width: width, channels: c, stride: stride)
    let hc = c * affine.headCount
    let head = normals(rows * width * hc, seed: 1)
    let x = normals(rows * width * stride, seed: 2)
    let g = normals(rows * width * stride, seed: 3)
    let lbar = normals(images, seed: 4)
    var y = x
    var logDet = [Double](repeating: 0, count: rows)
    var xbar = g
    var hbar = [Double](repeating: 0, count: head.count)
    var inverseXbar = g
    var inverseHbar = hbar
    for r in 0..<rows {
      for j in 0..<width where parity == nil || (r % height + j) % 2 == parity! {
        for k in 0..<c {
          let (p, q) = ((r * width + j) * stride + k, (r * width + j) * hc + k)
          let (l, slope) = Self.logScale(scale, scale == 2 ? 0 : head[q + c])
          y[p] = (x[p] + head[q]) * exp(l)
          logDet[r] += l
          xbar[p] = g[p] * exp(l)
          hbar[q] = g[p] * exp(l)
          inverseXbar[p] = g[p] / exp(l)
          inverseHbar[q] = -g[p]
          if scale != 2 {
            hbar[q + c] = (g[p] * y[p] + lbar[r / height]) * slope
            inverseHbar[q + c] = (-g[p] * (x[p] + head[q]) - lbar[r / height]) * slope
          }
        }
      }
    }
    let h = try TestArray<T>(head)
    let rowSums = try TestArray<Double>([Double](repeating: .nan, count: rows))
    let cotangents = try TestArray<Double>(lbar)
    let values = try TestArray<T>(x)
    let outputCotangent = try TestArray<T>(g)
    let headCotangent = try TestArray<T>([Double](repeating: .nan, count: head.count))
    func slopes() throws -> TestArray<T> {
      try TestArray<T>([Double](repeating: .nan, count: rows * width * c * affine.slopeCount))
    }
    let forwardSlopes = try slopes()
    // In pieces: the value doesn't depend on which rows go together.
    for range in [0..<1, 1..<4, 4..<rows] {
      Kernel.affine(
        affine, shape, .forward, rows: range, head: h.memory, values: values.memory,
        logDetRows: rowSums.memory,
        slopes: forwardSlopes.memory)
    }
    close(values.doubles, y, T.self, ulps: 20, "affine \(scale) \(String(describing: parity))")
    close(rowSums.doubles, logDet, T.self, ulps: Double(8 * c * width), "log-determinant \(scale)")
    // Back to x, with the slopes of the direction that led here.
    let recomputedSlopes = try slopes()
    Kernel.affine(
      affine, shape, .inverse, rows: 0..<rows, head: h.memory, values: values.memory,
      logDetRows: rowSums.memory,
      slopes: recomputedSlopes.memory)
    close(values.doubles, x, T.self, ulps: 100, "inverse affine \(scale)")
    close(rowSums.doubles, logDet.map { -$0 }, T.self, ulps: Double(8 * c * width), "inverse log-determinant")
    #expect(same(recomputedSlopes, forwardSlopes))

    for range in [0..<2, 2..<rows] {
      Kernel.affineVJP(
        affine, shape, .forward, rows: range, slopes: forwardSlopes.memory,
        logDetCotangent: cotangents.memory,
        cotangent: outputCotangent.memory, headCotangent: headCotangent.memory)
    }
    close(outputCotangent.doubles, xbar, T.self, ulps: 20, "cotangent through affine \(scale)")
    close(headCotangent.doubles, hbar, T.self, ulps: 60, "head's cotangent through affine \(scale)")

    // Through the inverse, from y to x.
    let output = try TestArray<T>(y)
    let inverseSlopes = try slopes()
    Kernel.affine(
      affine, shape, .inverse, rows: 0..<rows, head: h.memory, values: output.memory, logDetRows: nil,
      slopes: inverseSlopes.memory, slopesOf: .inverse)
    close(output.doubles, x, T.self, ulps: 100, "inverse affine \(scale)")
    let input = try TestArray<T>(x)
    let recomputed = try slopes()
    Kernel.affine(
      affine, shape, .forward, rows: 0..<rows, head: h.memory, values: input.memory, logDetRows: nil,
      slopes: recomputed.memory, slopesOf: .inverse)
    close(input.doubles, y, T.self, ulps: 20, "y back through the inverse \(scale)")
    for slopes in [inverseSlopes, recomputed] {
      let cotangent = try TestArray<T>(g)
      headCotangent.memory.fill(.nan)
      Kernel.affineVJP(
        affine, shape, .inverse, rows: 0..<rows, slopes: slopes.memory, logDetCotangent: cotangents.memory,
        cotangent: cotangent.memory, headCotangent: headCotangent.memory)
      close(cotangent.doubles, inverseXbar, T.self, ulps: 60, "cotangent through the inverse \(scale)")
      close(
        headCotangent.doubles, inverseHbar, T.self, ulps: 60,
        "head's cotangent through the inverse \(scale)")
    }
  }

  /// The same bits, where both are numbers: what belongs to pixels that aren't transformed isn't written.
  private func same<T>(_ a: TestArray<T>, _ b: TestArray<T>) -> Bool {
    zip(a.memory.elements, b.memory.elements).allSatisfy { $0 == $1 || ($0.isNaN && $1.isNaN) }
  }

  /// Far out every logarithm stays finite: log σ(−90) is −90, not log 0.
  @Test(arguments: types) func extremes(_ type: any KernelScalar.Type) throws { try checkExtremes(type) }

  private func checkExtremes<T: KernelScalar>(_: T.Type) throws {
    let points: [Double] = [-1000, -200, -92, -90, -88, -50, -30, 0, 30, 50, 88, 90, 1000]
    for scale: Int32 in 0...1 {
      for s in points {
        let affine = Kernel<T>.Affine(.init(rawValue: scale)!)
        let shape = Kernel<T>.CouplingShape(parity: nil, height: 1, width: 1, channels: 1, stride: 1)
        let head = try TestArray<T>([0.25, s])
        let x = try TestArray<T>([1.5])
        let sum = try TestArray<Double>([0])
        let slopes = try TestArray<T>([0, 0, 0])
        Kernel.affine(
          affine, shape, .forward, rows: 0..<1, head: head.memory, values: x.memory, logDetRows: sum.memory,
          slopes: slopes.memory)
        let l = Self.logScale(scale, s).l
        #expect(x.doubles[0].isFinite && (sum.doubles[0] - l).magnitude <= 4e-7 * max(1, l.magnitude), "\(s)")
        // e^l, a number of its own far out in single precision, is still the one that the inverse divides by.
        if s > -90, x.doubles[0] != 0 {
          Kernel.affine(
            affine, shape, .inverse, rows: 0..<1, head: head.memory, values: x.memory, logDetRows: sum.memory)
          #expect((x.doubles[0] - 1.5).magnitude < 1e-6, "\(scale) \(s): \(x.doubles[0])")
        }
        let g = try TestArray<T>([2])
        let headCotangent = try TestArray<T>([0, 0])
        Kernel.affineVJP(
          affine, shape, .forward, rows: 0..<1, slopes: slopes.memory,
          logDetCotangent: try TestArray<Double>([1]).memory, cotangent: g.memory,
          headCotangent: headCotangent.memory)
        #expect((g.doubles + headCotangent.doubles).allSatisfy { $0.isFinite }, "\(scale) \(s)")
      }
    }
    for s in points {
      let x = try TestArray<T>([s])
      var logDet = 5.0
      Kernel.logistic(x.memory, logDet: &logDet)
      let expected = -abs(s) - 2 * log1p(exp(-abs(s)))
      #expect((logDet - 5 - expected).magnitude <= 5e-7 * max(1, expected.magnitude))
      #expect(x.doubles[0] >= 0 && x.doubles[0] <= 1)
      let u = try TestArray<T>([s])
      let y = try TestArray<T>([0])
      let g = try TestArray<T>([1])
      Kernel.silu(u.memory, into: y.memory, slopes: g.memory)
      #expect((y.doubles[0] - s / (1 + exp(-s))).magnitude <= 1e-6 * max(1, abs(s)))
      #expect(g.doubles[0].isFinite && (g.doubles[0] - (s > 0 ? 1 : 0)).magnitude < 0.51)
    }
    for bad in [Double.nan] {
      let u = try TestArray<T>([bad])
      let y = try TestArray<T>([0])
      Kernel.silu(u.memory, into: y.memory)
      #expect(y.doubles[0].isNaN)
    }
  }

  // MARK: Logistic, activations

  @Test(arguments: types) func logistic(_ type: any KernelScalar.Type) throws { try checkLogistic(type) }

  private func checkLogistic<T: KernelScalar>(_: T.Type) throws {
    let x = normals(37, seed: 1, scale: 2)
    let y = x.map { 1 / (1 + exp(-$0)) }
    let logDet = x.reduce(0.0) { $0 - abs($1) - 2 * log1p(exp(-abs($1))) }
    let values = try TestArray<T>(x)
    var found = 1.0
    Kernel.logistic(values.memory, logDet: &found)
    close(values.doubles, y, T.self, "logistic")
    close([found], [logDet + 1], T.self, ulps: 80, "log-determinant of logistic")
    found = 1
    Kernel.logisticInverse(values.memory, logDet: &found)
    close(values.doubles, x, T.self, ulps: 1000, "logit")
    close([found], [1 - logDet], T.self, ulps: 1000, "log-determinant of logit")
    let g = normals(37, seed: 2)
    let output = try TestArray<T>(y)
    let cotangent = try TestArray<T>(g)
    Kernel.logisticVJP(output.memory, cotangent: cotangent.memory, logDetCotangent: 0.7)
    close(output.doubles, x, T.self, ulps: 1000, "x back through logistic")
    close(
      cotangent.doubles, zip(g, y).map { $0 * $1 * (1 - $1) + 0.7 * (1 - 2 * $1) }, T.self, "cotangent")
    let input = try TestArray<T>(x)
    let inputCotangent = try TestArray<T>(g)
    Kernel.logisticInverseVJP(input.memory, cotangent: inputCotangent.memory, logDetCotangent: 0.7)
    close(input.doubles, y, T.self, "y back through logit")
    close(
      inputCotangent.doubles, zip(g, y).map { ($0 - 0.7 * (1 - 2 * $1)) / ($1 * (1 - $1)) }, T.self, ulps: 20,
      "cotangent of logit")
    let ends = try TestArray<T>([0, 1])
    Kernel.logisticInverse(ends.memory, logDet: &found)
    #expect(ends.doubles == [-.infinity, .infinity])
  }

  @Test(arguments: types) func activations(_ type: any KernelScalar.Type) throws {
    try checkActivations(type)
  }

  private func checkActivations<T: KernelScalar>(_: T.Type) throws {
    let u = normals(101, seed: 1, scale: 4)
    let input = try TestArray<T>(u)
    let y = try TestArray<T>([Double](repeating: .nan, count: 101))
    let g = try TestArray<T>([Double](repeating: .nan, count: 101))
    Kernel.silu(input.memory, into: y.memory, slopes: g.memory)
    close(y.doubles, u.map { $0 / (1 + exp(-$0)) }, T.self, "SiLU")
    close(
      g.doubles,
      u.map { u in
        let s = 1 / (1 + exp(-u))
        return s * (1 + u * (1 - s))
      }, T.self, "derivative of SiLU")
    let slopes = try TestArray<T>(u)
    Kernel.silu(slopes.memory, into: g.memory, slopes: slopes.memory)
    #expect(g.memory.elements == y.memory.elements)
    Kernel.silu(input.memory, into: input.memory)
    #expect(input.memory.elements == y.memory.elements)
    Kernel.multiply(input.memory, by: slopes.memory)
    #expect(input.doubles == zip(y.memory.elements, slopes.memory.elements).map { Double($0 * $1) })
  }

  // MARK: Approximations

  /// `exp_` of elementwise.h: a scale e^s of actnorm applied to 1. Stated: 2 ulp on [−87, 88].
  @Test func singlePrecisionExponential() throws {
    var worst = 0.0
    let one = try TestArray<Float>([1])
    let zero = try TestArray<Float>([0]).memory
    let exponent = try TestArray<Float>([0])
    func scalar(_ value: Float) -> Memory<Float> {
      exponent.memory[0] = value
      return exponent.memory
    }
    for k in 0...350_000 {
      let s = Float(-87 + 175 * Double(k) / 350_000)
      one.memory[0] = 1
      Kernel.actnorm(one.memory, .forward, bias: zero, logScale: scalar(s))
      let exact = exp(Double(s))
      let ulp = Double(Float(exact).ulp)
      worst = max(worst, abs(Double(one.memory[0]) - exact) / ulp)
    }
    #expect(worst <= 2, "\(worst) ulp")
    for s: Float in [-88, -1000, -.infinity] {
      one.memory[0] = 1
      Kernel.actnorm(one.memory, .forward, bias: zero, logScale: scalar(s))
      #expect(one.memory[0] > 0 && one.memory[0] <= 1.7e-38)
    }
  }

  /// `log_scales` of elementwise.h against double precision, densely. Stated: 4 ulp, or 3e-7 absolute.
  @Test(arguments: [Kernel<Float>.Affine.Scale.sigmoid, .boundedExponential])
  func singlePrecisionScales(_ scale: Kernel<Float>.Affine.Scale) throws {
    let width = 400_000
    let affine = Kernel<Float>.Affine(scale)
    let shape = Kernel<Float>.CouplingShape(
      parity: nil, height: 1, width: width, channels: 1, stride: 1)
    let s = (0..<width).map { Float(-40 + 80 * Double($0) / Double(width)) }
    let head = try TestArray<Float>(s.flatMap { [0, Double($0)] })
    let values = try TestArray<Float>([Double](repeating: 1, count: width))
    let slopes = try TestArray<Float>([Double](repeating: 0, count: 3 * width))
    let logDet = try TestArray<Double>([0])
    Kernel.affine(
      affine, shape, .forward, rows: 0..<1, head: head.memory, values: values.memory,
      logDetRows: logDet.memory,
      slopes: slopes.memory)
    func ulps(_ found: Double, _ exact: Double) -> Double { abs(found - exact) / Double(Float(exact).ulp) }
    var (worstScale, worstSlope, sum, bound) = (0.0, 0.0, 0.0, 0.0)
    for k in 0..<width {
      let argument = scale == .sigmoid ? Double(s[k] + 2) : Double(s[k])
      let e = exp(-abs(argument))
      let (small, large) = (e / (1 + e), 1 / (1 + e))
      let (found, foundSlope) = (slopes.doubles(at: k), slopes.doubles(at: 2 * width + k))
      if scale == .sigmoid {
        worstScale = max(worstScale, ulps(found, argument < 0 ? small : large))
        worstSlope = max(worstSlope, ulps(foundSlope, argument < 0 ? large : small))
        let l = min(argument, 0) - log1p(e)
        sum += l
        bound += 4 * Double(Float(l).ulp)
      } else {
        let t = tanh(argument / 2)
        worstScale = max(worstScale, ulps(found, exp(2 * t)))
        worstSlope = max(worstSlope, abs(foundSlope - (1 - t * t)) / 3e-7)
        sum += 2 * t
        bound += 3e-7
      }
    }
    #expect(worstScale <= 4 && worstSlope <= (scale == .sigmoid ? 4 : 1), "\(worstScale), \(worstSlope)")
    #expect(abs(logDet.memory[0] - sum) <= bound)
  }

  /// `log1p_` of elementwise.h, at e = e^−|x|: the log-determinant of the logistic is −|x| − 2·log(1 + e).
  /// Stated: an absolute error below 1.2e-7.
  @Test func singlePrecisionLog1p() throws {
    var worst = 0.0
    let x = try TestArray<Float>([1])
    let zero = try TestArray<Float>([0])
    let e = try TestArray<Float>([1])
    let exponent = try TestArray<Float>([0])
    for k in 0...300_000 {
      let s = Float(-30 * Double(k) / 300_000)
      x.memory[0] = s
      e.memory[0] = 1
      zero.memory[0] = 0
      exponent.memory[0] = s
      var logDet = 0.0
      Kernel.logistic(x.memory, logDet: &logDet)
      Kernel.actnorm(e.memory, .forward, bias: zero.memory, logScale: exponent.memory)
      worst = max(worst, abs((Double(s) - logDet) / 2 - log1p(Double(e.memory[0]))))
    }
    #expect(worst < 1.2e-7, "\(worst)")
  }
}
