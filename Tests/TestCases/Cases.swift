import AIPOFlowTesting
import AIPOFlows
import AIPOKernels
import AIPOPriors
import AIPOProblems

// What every property is tested with: a new map, noise law or prior is tested by a line here.

/// An even size, an odd one of three channels, a prime row and a prime column of three channels.
public let testShapes = [
  ImageShape(height: 3, width: 4, channels: 1), ImageShape(height: 5, width: 3, channels: 3),
  ImageShape(height: 1, width: 13, channels: 1), ImageShape(height: 7, width: 1, channels: 3),
]

/// Every map from images of a shape.
public func allMaps(_ shape: ImageShape) throws -> [(name: String, value: any Map)] {
  try linearMaps(shape).map { ($0.name, $0.value) } + nonlinearMaps(shape)
}

public func nonlinearMaps(_ shape: ImageShape) throws -> [(name: String, value: any Map)] {
  let blur = try ConvolutionMap(shape, kernel: sharpKernel(3, 2))
  return [
    ("saturation", Saturation(input: shape)),
    (
      "intensities",
      IntensityMap(
        try DenseMap.gaussian(measurements: shape.count + 3, input: shape, seed: 4), isComplex: false)
    ),
    ("sensor", PointwiseMap(.softSaturation(at: 0.8), after: blur)),
    ("transmission", PointwiseMap(.transmission, after: blur)),
    ("film", PointwiseMap(.gamma(2.2), after: blur)),
  ]
    + (shape.channels != 3
      ? [("coded diffraction", try IntensityMap.codedDiffraction(shape, patterns: 2, seed: 5))] : [])
}

public func linearMaps(_ shape: ImageShape) throws -> [(name: String, value: any LinearMap)] {
  let d = shape.count
  var deficient = try Matrix(rows: 6, columns: d)
  let row = randomVector(d, seed: 5)
  for i in 0..<6 { for j in 0..<d { deficient[i, j] = Double(i - 2) * row[j] } }
  return [
    ("identity", IdentityMap(shape)),
    ("mask", try MaskMap(shape, mask: (0..<d).map { $0 % 3 != 1 })),
    ("mask of everything", try MaskMap(shape, mask: [Bool](repeating: false, count: d))),
    ("mask of nothing", try MaskMap(shape, mask: [Bool](repeating: true, count: d))),
    ("wide", try DenseMap.gaussian(measurements: d / 2, input: shape, seed: 1)),
    ("square", try DenseMap.gaussian(measurements: d, input: shape, seed: 2)),
    ("tall", try DenseMap.gaussian(measurements: d + 8, input: shape, seed: 3)),
    ("rank one", try DenseMap(deficient, input: shape)),
    ("zero", try DenseMap(try Matrix(rows: 4, columns: d), input: shape)),
    ("user's own", CyclicDifference(input: shape)),
    ("user's own, pixelwise", try Gains(input: shape)),
    ("blur, circular", try ConvolutionMap(shape, kernel: sharpKernel(4, 3), boundary: .circular)),
    (
      "blur, reflect", try ConvolutionMap(shape, kernel: sharpKernel(3, 2), boundary: .reflect, path: .direct)
    ),
    (
      "blur, replicate",
      try ConvolutionMap(shape, kernel: sharpKernel(5, 5), boundary: .replicate, path: .fourier)
    ),
    (
      "blur, zero",
      try ConvolutionMap(shape, kernel: .gaussian(deviation: 0.4), boundary: .zero, path: .separable)
    ),
    (
      "blur, valid",
      try ConvolutionMap(
        shape, kernel: sharpKernel(min(2, shape.height), min(3, shape.width)), boundary: .valid, path: .direct
      )
    ),
    ("downsampling, bicubic", try Resampling(shape, factor: 2)),
    (
      "downsampling, gaussian",
      try Resampling(shape, factor: 3, kernel: .gaussian(deviation: 0.9), phase: 4.5, boundary: .circular)
    ),
    ("every second pixel", try Subsampling(shape, factor: 2)),
    (
      "blur, then every second pixel",
      try ComposedMap(
        Subsampling(shape, factor: 2),
        after: ConvolutionMap(shape, kernel: sharpKernel(3, 3), boundary: .circular))
    ),
    (
      "scaled", try ScaledMap(ConvolutionMap(shape, kernel: sharpKernel(4, 3), boundary: .circular), by: -1.7)
    ),
    ("scaled matrix", try ScaledMap(DenseMap.gaussian(measurements: d / 2, input: shape, seed: 9), by: 0.4)),
    (
      "stack",
      try StackedMap([
        MaskMap(shape, mask: (0..<d).map { $0 % 3 != 1 }), ConvolutionMap(shape, kernel: sharpKernel(3, 2)),
      ])
    ),
    (
      "stack of blurs",
      try StackedMap([
        ConvolutionMap(shape, kernel: sharpKernel(4, 3), boundary: .circular),
        ConvolutionMap(shape, kernel: sharpKernel(2, 2), boundary: .circular),
      ])
    ),
    ("stack of masks", try StackedMap([Gains(input: shape), IdentityMap(shape)])),
    ("sum", try SummedMap([IdentityMap(shape), ConvolutionMap(shape, kernel: sharpKernel(3, 2))])),
    ("sparse", try SparseMap(sparseMatrix(d), input: shape)),
    ("hadamard", try TransformSensing(.hadamard, measurements: d / 2 + 1, input: shape, seed: 6)),
    ("cosines", try TransformSensing(.dct, measurements: d / 2 + 1, input: shape, seed: 7)),
    ("fourier", try TransformSensing(.fourier, measurements: d / 2, input: shape, seed: 8)),
    (
      "parallel rays",
      try Tomography(
        shape,
        geometry: ScanGeometry(
          angles: [0, 37, 90, 121.5], detectors: 6, spacing: 0.9, offset: 0.3, pixelSize: 0.7))
    ),
    (
      "fan of rays",
      try Tomography(
        shape,
        geometry: ScanGeometry(
          beam: .fan(source: 15, detector: 9), angles: [10, 100, 200, 305], detectors: 7, spacing: 1.6))
    ),
    (
      "blur from place to place",
      try VaryingBlur(
        shape, kernels: [sharpKernel(3, 2), sharpKernel(2, 3), sharpKernel(3, 3), sharpKernel(1, 2)], rows: 2,
        columns: 2, boundary: .circular)
    ),
    (
      "blur from place to place, of the image",
      try VaryingBlur(
        shape, kernels: [sharpKernel(3, 2), sharpKernel(2, 3), sharpKernel(3, 3)], rows: 1, columns: 3,
        order: .image)
    ),
    ("differences", try FiniteDifferences(shape)),
    ("differences, circular", try FiniteDifferences(shape, isCircular: true)),
    (
      "weighted",
      try WeightedMap(
        ConvolutionMap(shape, kernel: sharpKernel(4, 3)), weights: Tensor(randomVector(d, seed: 12)))
    ),
    ("mixing of channels", try ChannelMixing(shape, mixing: mixing(shape.channels))),
  ]
    + (shape.channels != 3
      ? [
        ("k-space", try FourierSampling(shape, taken: (0..<shape.height * shape.width).map { $0 % 3 != 1 })),
        ("k-space off the grid", try TrajectorySampling(shape, frequencies: frequencies(shape.count))),
      ] : [])
    + (shape.channels == 3 ? [("colour filter array", try ColourFilterArray(shape, pattern: bayer))] : [])
}

/// A kernel that can be inverted: 1 over the pixel itself, and less around.
public func sharpKernel(_ height: Int, _ width: Int) throws -> BlurKernel {
  var values = randomVector(height * width, seed: 31).map { 0.04 * $0 }
  values[height / 2 * width + width / 2] = 1
  return try BlurKernel(values, height: height, width: width)
}

/// Few entries, an empty row and an empty column among them.
private func sparseMatrix(_ d: Int) throws -> SparseMatrix {
  let count = 2 * d
  return try SparseMatrix(
    rows: d + 2, columns: d, rowIndices: (0..<count).map { Int32($0 * 7 % (d + 1)) },
    columnIndices: (0..<count).map { Int32($0 * 5 % max(d - 1, 1)) }, values: randomVector(count, seed: 33))
}

/// Places of k-space, some of them at its edges.
public func frequencies(_ count: Int) -> [SIMD2<Double>] {
  var random = Philox(seed: 34, purpose: .test)
  return (0..<count).map { k in
    k == 0 ? SIMD2(0.5, -0.5) : SIMD2(random.uniform() - 0.5, random.uniform() - 0.5)
  }
}

public let bayer = ColourPattern("RGGB")!

/// Two bands of some channels.
private func mixing(_ channels: Int) throws -> Matrix {
  try Matrix(rows: 2, columns: channels, rowMajor: randomVector(2 * channels, seed: 32))
}

/// Every noise law, for m measurements.
public func allNoises(_ m: Int) throws -> [(name: String, value: any NoiseModel)] {
  try independentNoises().map { ($0.name, $0.value) } + gaussianNoises(m).map { ($0.name, $0.noise) }
    + [("flow", try flowNoise(m))]
}

/// Every law of independent measurements.
public func independentNoises() throws -> [(name: String, value: any IndependentNoise)] {
  [
    ("laplace", try LaplaceNoise(sigma: 0.3)),
    ("laplace, sharp", try LaplaceNoise(sigma: 0.3, tip: 0.01)),
    ("student", try StudentNoise(sigma: 0.2, degreesOfFreedom: 5)),
    ("student, heavy tails", try StudentNoise(sigma: 0.2, degreesOfFreedom: 1)),
    ("poisson", try PoissonNoise(peak: 30)),
    ("poisson, dark", try PoissonNoise(peak: 0.5)),
    ("poisson, read noise", try PoissonNoise(peak: 30, sigma: 0.05)),
    ("poisson, bright, read noise", try PoissonNoise(peak: 4000, sigma: 0.002)),
    ("outliers", try OutlierNoise(sigma: 0.1, share: 0.2)),
    ("one bit", try IntervalNoise(sigma: 0.2, bits: 1)),
    ("eight bits", try IntervalNoise(sigma: 0.1, bits: 8)),
    ("saturated", try IntervalNoise(sigma: 0.2, bits: nil, range: -0.5...0.6)),
  ]
}

/// Every Gaussian law with its covariance.
public func gaussianNoises(_ m: Int) throws -> [(name: String, noise: GaussianNoise, covariance: Matrix)] {
  let c = try randomCovariance(m, seed: 90)
  let sigmas = (0..<m).map { 0.1 + 0.1 * Double($0 % 6) }
  let mean = randomVector(m, seed: 91)
  func diagonal(_ variance: (Int) -> Double) throws -> Matrix {
    try Matrix(rows: m, columns: m) { $0 == $1 ? variance($0) : 0 }
  }
  return [
    ("gaussian", try GaussianNoise(sigma: 0.2), try diagonal { _ in 0.04 }),
    ("gaussian, deviations", try GaussianNoise(sigmas: sigmas), try diagonal { sigmas[$0] * sigmas[$0] }),
    (
      "gaussian, deviations and mean", try GaussianNoise(sigmas: sigmas, mean: mean),
      try diagonal { sigmas[$0] * sigmas[$0] }
    ),
    ("gaussian, covariance", try GaussianNoise(covariance: c), c),
    ("gaussian, covariance and mean", try GaussianNoise(covariance: c, mean: mean), c),
  ]
}

public func flowNoise(_ m: Int) throws -> FlowNoise {
  let flow = WarpedGaussian.random(imageShape: .vector(m), warp: 0.6, seed: 72)
  return FlowNoise(
    flow, gaussian: try GaussianNoise(covariance: try randomCovariance(m, seed: 70), mean: flow.mean))
}

// MARK: Priors

/// A smooth flow with random parameters.
public func smoothFlow<Scalar: KernelScalar>(_ shape: ImageShape, threads: Int = 1) throws -> Flow<Scalar> {
  let flow = try Flow<Scalar>(
    spec: .glow(levels: 1, steps: 2, hidden: 4, activation: .silu), imageShape: shape, seed: 1,
    pool: ThreadPool(threads: threads))
  try randomizeParameters(of: flow, seed: 2)
  return flow
}

/// The smallest even size around one.
private func even(_ shape: ImageShape) -> ImageShape {
  ImageShape(
    height: (shape.height + 1) / 2 * 2, width: (shape.width + 1) / 2 * 2, channels: shape.channels)
}

private func patch(_ shape: ImageShape) -> ImageShape {
  ImageShape(height: 4, width: 4, channels: shape.channels)
}

/// Every prior with latents.
public func latentPriors(_ shape: ImageShape) throws -> [(name: String, value: any LatentPrior)] {
  [
    ("warped", WarpedGaussian.random(imageShape: shape, warp: 0.6, seed: 8)),
    ("flow", FlowPrior<Double>(try smoothFlow(even(shape)))),
  ]
}

/// Every prior; a flow is for the even size.
public func allPriors(_ shape: ImageShape) throws -> [(name: String, value: any Prior)] {
  let gaussian = try GaussianPrior(
    imageShape: shape, mean: randomVector(shape.count, seed: 21),
    covariance: try randomCovariance(shape.count, seed: 4))
  let larger = ImageShape(height: shape.height + 2, width: 2 * shape.width + 1, channels: shape.channels)
  return try latentPriors(shape).map { ($0.name, $0.value) } + [
    ("gaussian", gaussian), ("stationary gaussian", try stationaryPrior(shape)),
    ("reflected flow", ReflectedPrior(FlowPrior<Double>(try smoothFlow(even(shape))), imageShape: shape)),
    ("patches", try PatchPrior<Double>(try smoothFlow(patch(shape)), imageShape: shape, stride: 2)),
    (
      "reflected, far beyond",
      ReflectedPrior(WarpedGaussian.random(imageShape: larger, warp: 0.6, seed: 8), imageShape: shape)
    ),
  ]
}

/// The stationary one with the mean covariances at lags of the dense one in `allPriors`.
public func stationaryPrior(_ shape: ImageShape) throws -> GaussianPrior {
  let c = try randomCovariance(shape.count, seed: 4)
  let dense = ImageStatistics(
    mean: randomVector(shape.count, seed: 21).map { Float($0) },
    covariance: .full(lowerTriangle: (0..<shape.count).flatMap { i in (0...i).map { Float(c[i, $0]) } }))
  return try GaussianPrior(imageShape: shape, statistics: dense.stationary(shape)!)
}

// MARK: Maps of users

/// A map that gives only what it must: a cyclic second difference.
public struct CyclicDifference: LinearMap {
  public let input: ImageShape
  public var output: ImageShape { input }

  public init(input: ImageShape) { self.input = input }

  public func apply(_ x: Vector, into y: Vector, _ scratch: Scratch) {
    let n = x.count
    for i in 0..<n { y[i] = 2 * x[i] - x[(i + 1) % n] - x[(i + n - 1) % n] }
  }
  public func adjoint(_ u: Vector, into x: Vector, _ scratch: Scratch) { apply(u, into: x, scratch) }
}

/// Every value times a factor of its own, of either sign and 0.
public struct Gains: LinearMap {
  public let input: ImageShape
  public var output: ImageShape { input }
  public let normal: NormalForm

  public init(input: ImageShape) throws {
    self.input = input
    normal = .pixelwise(try Tensor((0..<input.count).map { Self.gain($0) * Self.gain($0) }))
  }

  public static func gain(_ i: Int) -> Double { Double(i % 5) - 1 }

  public func apply(_ x: Vector, into y: Vector, _ scratch: Scratch) {
    for i in 0..<x.count { y[i] = Self.gain(i) * x[i] }
  }
  public func adjoint(_ u: Vector, into x: Vector, _ scratch: Scratch) { apply(u, into: x, scratch) }
}

/// A map that isn't linear: x/(1 + x²).
public struct Saturation: Map {
  public let input: ImageShape
  public var output: ImageShape { input }

  public init(input: ImageShape) { self.input = input }

  public func apply(_ x: Vector, into y: Vector, _ scratch: Scratch) {
    y.setEach(scratch.pool, x) { $0 / (1 + $0 * $0) }
  }
  public func pullback(_ u: Vector, at x: Vector, into g: Vector, _ scratch: Scratch) {
    g.setEach(scratch.pool, u, x) { $0 * (1 - $1 * $1) / ((1 + $1 * $1) * (1 + $1 * $1)) }
  }
}
