import AIPOFlowTesting
import AIPOFlows
import AIPOKernels
import AIPOPriors
import AIPOTestCases
import Testing

/// Patches over images of any size.
@Suite struct PatchTests {
  /// Image, patch, stride: a grid that fits, odd sizes, strides that don't divide the patch, images smaller than a patch or
  /// than a stride, one patch alone, sides that differ, colours.
  private let cases: [(image: ImageShape, patch: ImageShape, stride: Int)] = [
    (shape(12, 16), shape(4, 4), 2), (shape(11, 13), shape(4, 4), 2), (shape(9, 7), shape(4, 4), 3),
    (shape(10, 5), shape(6, 4), 4), (shape(3, 2), shape(8, 8), 4), (shape(1, 1), shape(4, 4), 1),
    (shape(4, 4), shape(4, 4), 4), (shape(7, 6, 3), shape(4, 4, 3), 2), (shape(1, 17), shape(4, 4), 3),
  ]

  private static func shape(_ height: Int, _ width: Int, _ channels: Int = 1) -> ImageShape {
    ImageShape(height: height, width: width, channels: channels)
  }

  private func image(_ shape: ImageShape) -> [Double] {
    randomVector(shape.count, seed: 31).map { 0.5 + 0.2 * $0 }
  }

  /// A smooth flow of patches that knows its noise level, with random parameters.
  private func flow<Scalar: KernelScalar>(_ patch: ImageShape) throws -> Flow<Scalar> {
    let flow = try Flow<Scalar>(
      spec: FlowSpec.glow(levels: 1, steps: 2, hidden: 4, activation: .silu).conditioned(), imageShape: patch,
      seed: 1, pool: ThreadPool(threads: 1))
    try randomizeParameters(of: flow, seed: 2)
    return flow
  }

  /// A patch of an image, written anew: mirrored places by walking there and back.
  private func patch(_ x: [Double], _ image: ImageShape, _ patch: ImageShape, at y0: Int, _ x0: Int)
    -> [Double]
  {
    func mirrored(_ i: Int, _ n: Int) -> Int {
      var i = i
      while i < 0 || i >= n { i = i < 0 ? -1 - i : 2 * n - 1 - i }
      return i
    }
    var values: [Double] = []
    for y in y0..<y0 + patch.height {
      for column in x0..<x0 + patch.width {
        let place = (mirrored(y, image.height) * image.width + mirrored(column, image.width)) * image.channels
        values += x[place..<place + image.channels]
      }
    }
    return values
  }

  /// Beginnings of patches along an axis, from the rule in words: steps of t, over an edge by m at most and by more than
  /// m − t, m the larger of half a patch and t − 1; one at least.
  private func starts(_ length: Int, _ side: Int, _ t: Int, shift: Int) -> [Int] {
    let m = max(side / 2, t - 1)
    let all = Array(stride(from: shift - m, through: length - side + m, by: t))
    return all.isEmpty ? [shift - m] : all
  }

  @Test func energyIsTheSumOverPatches() throws {
    for (image, size, t) in cases {
      let flow: Flow<Double> = try flow(size)
      let prior = try PatchPrior(flow, imageShape: image, stride: t)
      let x = self.image(image)
      for turn in [0, 1, 5] {
        let shift = PatchGrid.shift(turn, stride: t)
        let smooth = try flow.smoothed(by: 0.1)
        var sum = 0.0
        for y in starts(image.height, size.height, t, shift: shift.y) {
          for column in starts(image.width, size.width, t, shift: shift.x) {
            let values = patch(x, image, size, at: y, column)
            sum -= try smooth.evaluate(
              Tensor(shape: [1, size.height, size.width, size.channels], elements: values))[0]
          }
        }
        let expected = sum * Double(t * t) / Double(size.height * size.width)
        let found = try prior.smoothed(by: 0.1, turn: turn).evaluate(x).value
        #expect((found - expected).magnitude <= 1e-11 * expected.magnitude, "\(image) \(size) \(t) \(turn)")
      }
    }
  }

  @Test func gradientsByTaylorRemainder() throws {
    for (image, size, t) in cases {
      let prior = try PatchPrior<Double>(try flow(size), imageShape: image, stride: t).smoothed(
        by: 0.05, turn: 3)
      let x = self.image(image)
      let (value, gradient) = try prior.evaluate(x)
      let order = try taylorOrder(
        at: x, along: randomVector(image.count, seed: 54), step: 1e-3, value: value, gradient: gradient
      ) { try prior.evaluate($0).value }
      #expect(order >= 1.9, "\(image) \(size) \(t)")
      let alone = try x.asVector { try prior.evaluate($0, gradient: nil, Scratch()) }
      #expect((alone - value).magnitude <= 1e-12 * value.magnitude)
    }
  }

  /// The turns go through every shift once, and any few in a row lie apart.
  @Test func turnsAreWellSpread() {
    for t in [1, 2, 3, 4, 6] {
      let shifts = (0..<t * t).map { PatchGrid.shift($0, stride: t) }
      #expect(Set(shifts.map { $0.y * t + $0.x }).count == t * t)
      #expect(PatchGrid.shift(t * t, stride: t) == shifts[0])
    }
    let four = (0..<4).map { PatchGrid.shift($0, stride: 4) }
    #expect(Set(four.map { $0.y * 4 + $0.x }) == [0, 2, 8, 10])
  }

  /// Over all turns, a pixel is covered about as often near an edge as inside, and in no turn not at all.
  @Test func coverIsEven() {
    for (image, size, t) in cases where image.height >= size.height && image.width >= size.width {
      var sums = [Double](repeating: 0, count: image.height)
      for turn in 0..<t * t {
        let grid = PatchGrid(image, patch: size, stride: t, turn: turn)
        #expect(grid.rows.cover.allSatisfy { $0 >= 1 } && grid.columns.cover.allSatisfy { $0 >= 1 })
        for (y, n) in grid.rows.cover.enumerated() { sums[y] += n / Double(t * t) }
        #expect(grid.cover == Double(size.height * size.width) / Double(t * t))
      }
      let usual = Double(size.height) / Double(t)
      // Where patches reach beyond an edge by half their side, by one in so many more.
      let most = t <= size.height / 2 + 1 ? 1 + 1 / Double(size.height) : 2
      #expect(sums.allSatisfy { $0 >= usual - 1e-9 && $0 <= most * usual + 1e-9 }, "\(image) \(size) \(t)")
    }
  }

  @Test func bitsDontDependOnThreads() throws {
    let image = Self.shape(53, 61)
    let flow: Flow<Float> = try flow(Self.shape(4, 4))
    let prior = try PatchPrior(flow, imageShape: image, stride: 2).smoothed(by: 0.05, turn: 2)
    let x = self.image(image)
    func found(_ threads: Int) throws -> [Double] {
      try x.asVector { x in
        var value = 0.0
        let gradient = try written(image.count, threads: threads) {
          value = try prior.evaluate(x, gradient: $0, $1)
        }
        return gradient + [value]
      }
    }
    let one = try found(1)
    #expect(try found(2) == one)
    #expect(try found(5) == one)
  }

  /// Many batches in single precision give the picture that one sum in double precision gives: no batch is seen.
  @Test func noSeamsAreSeen() throws {
    let image = Self.shape(53, 61)
    let single: Flow<Float> = try flow(Self.shape(4, 4))
    let double: Flow<Double> = try flow(Self.shape(4, 4))
    try double.setParameters(single.parameters.map { Double($0) })
    let x = self.image(image).map { Double(Float($0)) }
    func mean<Scalar>(_ flow: Flow<Scalar>) throws -> [Double] {
      let prior = try PatchPrior(flow, imageShape: image, stride: 2)
      return try x.asVector { x in
        try written(image.count) { _ = try prior.denoise(x, noise: 0.1, turn: 0, into: $0, $1) }
      }
    }
    let (found, expected) = (try mean(single), try mean(double))
    #expect(zip(found, expected).allSatisfy { ($0 - $1).magnitude <= 1e-5 })
    #expect(distance(found, x) > 0.1)
  }

  // MARK: Gaussian patches

  /// N(μ, C) on patches, in a flow that is its whitening alone.
  private func gaussianFlow(_ size: ImageShape) throws -> (Flow<Double>, mean: [Double], covariance: Matrix) {
    let mean = randomVector(size.count, seed: 3).map { 0.5 + 0.1 * $0 }.map { Float($0) }
    let c = try randomCovariance(size.count, seed: 4)
    let triangle = (0..<size.count).flatMap { i in (0...i).map { Float(0.02 * c[i, $0]) } }
    let statistics = ImageStatistics(mean: mean, covariance: .full(lowerTriangle: triangle))
    let flow = try Flow<Double>(
      spec: FlowSpec(condition: Condition(least: 1e-3), layers: [.whitening(.dense)]), imageShape: size,
      pool: ThreadPool(threads: 1))
    try flow.whiten(statistics)
    return (flow, mean.map { Double($0) }, try statistics.matrix()!)
  }

  /// D_s is the average of `μ + C(C + s²I)⁻¹(Pᵢv − μ)` over all patches that hold a pixel or a mirror image of it, and inside
  /// `v − s²∇R_s`.
  @Test func meanOfGaussianPatches() throws {
    for (image, size, t) in cases {
      let (flow, mean, c) = try gaussianFlow(size)
      let s = 0.15
      let d = size.count
      let prior = try PatchPrior(flow, imageShape: image, stride: t)
      let v = self.image(image)
      let shift = PatchGrid.shift(1, stride: t)
      let noisy = try Matrix(rows: d, columns: d) { c[$0, $1] + ($0 == $1 ? s * s : 0) }
      let inverse = try GaussianCovariance(noisy)
      var sums = image.zeros
      var counts = image.zeros
      for y in starts(image.height, size.height, t, shift: shift.y) {
        for column in starts(image.width, size.width, t, shift: shift.x) {
          let values = patch(v, image, size, at: y, column)
          let whitened = try adding(values, mean, scaledBy: -1).asVector { offset in
            try written(d) { try inverse.multiplyInverse(offset, into: $0, $1) }
          }
          let places = patch(image.zeros.indices.map(Double.init), image, size, at: y, column)
          for k in 0..<d {
            sums[Int(places[k])] += mean[k] + (0..<d).reduce(0.0) { $0 + c[k, $1] * whitened[$1] }
            counts[Int(places[k])] += 1
          }
        }
      }
      let expected = zip(sums, counts).map { $0 / $1 }
      var energy = 0.0
      let found = try v.asVector { v in
        try written(image.count) { energy = try prior.denoise(v, noise: s, turn: 1, into: $0, $1) }
      }
      #expect(distance(found, expected) <= 1e-6 * norm(expected), "\(image) \(size) \(t)")
      let (value, gradient) = try prior.smoothed(by: s, turn: 1).evaluate(v)
      #expect(energy == value)
      let usual = Double(size.height * size.width) / Double(t * t)
      for j in found.indices where counts[j] == usual {
        #expect((found[j] - (v[j] - s * s * gradient[j])).magnitude < 1e-9)
      }
    }
  }

  /// MᵀM of Gaussian patches is the whole curvature.
  @Test func probesOfGaussianPatches() throws {
    let image = Self.shape(7, 6)
    let (flow, _, _) = try gaussianFlow(Self.shape(4, 4))
    let prior = try PatchPrior(flow, imageShape: image, stride: 2).smoothed(by: 0.1, turn: 1)
    let x = self.image(image)
    let w = randomVector(image.count, seed: 9)
    let change = adding(
      try prior.evaluate(adding(x, w)).gradient, try prior.evaluate(x).gradient, scaledBy: -1)
    let length = try #require(prior.probeLength)
    var square = 0.0
    for i in 0..<length {
      var unit = [Double](repeating: 0, count: length)
      unit[i] = 1
      let pulled = try unit.asVector { v in
        try x.asVector { x in try written(image.count) { try prior.probe(v, at: x, into: $0, $1) } }
      }
      square += dot(w, pulled) * dot(w, pulled)
    }
    #expect((square - dot(w, change)).magnitude <= 1e-6 * square)
  }

  /// The model says whether a picture is seen in patches or as a whole; a flow by itself is that of its own size.
  @Test func aModelOfPatchesIsAPriorForAnySize() throws {
    let size = Self.shape(4, 4)
    let flow: Flow<Double> = try flow(size)
    var model = FlowModel(
      spec: flow.spec!, imageShape: size, dequantization: Dequantization(bits: 8), tensors: flow.namedTensors)
    var config = TrainingConfig()
    config.patch = "4x4"
    for (stride, found) in [(PatchStride.automatic, 2), (.pixels(3), 3)] {
      config.stride = stride
      model.kind = PriorKind(config, model.spec, size)
      for image in [Self.shape(9, 7), Self.shape(4, 4), Self.shape(1, 1)] {
        let prior = try #require(try model.prior(flow, at: image) as? PatchPrior<Double>)
        #expect(prior.stride == found && prior.imageShape == image)
        #expect(prior.noiseLevels == flow.condition)
      }
      #expect(try model.prior(flow) is FlowPrior<Double>)
    }
    // Large patches need not overlap.
    config.stride = .automatic
    #expect(PriorKind(config, model.spec, Self.shape(24, 24)) == .patches(stride: 24))
    config.stride = .whole
    model.kind = PriorKind(config, model.spec, size)
    #expect(try model.prior(flow, at: Self.shape(9, 7)) is ReflectedPrior)
    #expect(try model.prior(flow, at: Self.shape(8, 6)) is FlowPrior<Double>)
  }

  @Test func otherChannelsAreRefused() throws {
    #expect(throws: FlowError.self) {
      try PatchPrior<Double>(try flow(Self.shape(4, 4)), imageShape: Self.shape(8, 8, 3))
    }
  }
}

extension ImageShape {
  fileprivate var zeros: [Double] { [Double](repeating: 0, count: count) }
}
