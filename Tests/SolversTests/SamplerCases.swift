import AIPOFlowTesting
import AIPOFlows
import AIPOKernels
import AIPOPlatform
import AIPOPriors
import AIPOProblems
import AIPOTestCases

@testable import AIPOSolvers

/// Every sampler with the coordinates that it works in: a new one is tested by a line here.
let allSamplers: [(sampler: any Sampler, spaces: [SolutionSpace])] = [
  (HamiltonianSampler.hamiltonian, [.x, .z]), (HamiltonianSampler.langevin, [.x, .z]),
  (MicrocanonicalSampler(), [.x, .z]), (CrankNicolsonSampler(), [.z]),
]

/// A problem with a Gaussian prior that has latents, whose posterior and evidence are closed forms.
struct GaussianCase {
  let name: String
  let prior: WarpedGaussian
  let data: DataTerm
  /// Of the posterior.
  let mean: [Double]
  let covariance: Matrix
  let logEvidence: Double

  init(_ name: String, _ map: any LinearMap, sigma: Double, seed: UInt64) throws {
    self.name = name
    let d = map.input.count
    prior = WarpedGaussian.random(imageShape: map.input, warp: 0, seed: seed)
    let factor = prior.factor
    let c = try Matrix(rows: d, columns: d) { i, j in
      (0..<d).reduce(0) { $0 + factor[i * d + $1] * factor[j * d + $1] }
    }
    let a = try map.matrix()
    let m = a.rows
    var random = Philox(seed: seed, purpose: .test)
    let truth = adding(
      prior.mean, (0..<d).map { i in 0.2 * random.normal() * Double(1 + i % 2) }, scaledBy: 1)
    let y = adding(a.times(truth), (0..<m).map { _ in random.normal() }, scaledBy: sigma)
    data = try DataTerm(map, GaussianNoise(sigma: sigma), y)
    // K = CAᵀ(ACAᵀ + σ²I)⁻¹
    let cross = try c.timesTransposed(a)
    var gram = try a.times(cross)
    gram.addToDiagonal(sigma * sigma)
    let factored = try Cholesky(gram)
    let residual = adding(y, a.times(prior.mean), scaledBy: -1)
    var solved = residual
    solved.withUnsafeMutableBufferPointer { factored.solve(Vector($0)) }
    mean = adding(prior.mean, cross.times(solved), scaledBy: 1)
    let transposed = try Matrix(rows: m, columns: d) { cross[$1, $0] }
    var posterior = c
    posterior.add(try cross.times(factored.solve(transposed)), scaledBy: -1)
    covariance = posterior
    let misfit = zip(residual, solved).reduce(0) { $0 + $1.0 * $1.1 }
    logEvidence = -0.5 * (misfit + factored.logDeterminant + Double(m) * log(2 * Double.pi))
  }

  /// An exact draw of the posterior.
  func draw(_ random: inout Philox) throws -> [Double] {
    var draw = (0..<mean.count).map { _ in random.normal() }
    let factor = try Cholesky(covariance)
    draw.withUnsafeMutableBufferPointer { factor.multiplyFactor(Vector($0)) }
    return adding(mean, draw, scaledBy: 1)
  }

  func density(_ space: SolutionSpace) -> SampledDensity {
    space == .z ? SampledDensity(latents: data, prior: prior) : SampledDensity(pixels: data, prior: prior)
  }

  static func all(_ shape: ImageShape = ImageShape(height: 3, width: 4, channels: 1)) throws -> [GaussianCase]
  {
    [
      try GaussianCase("identity", IdentityMap(shape), sigma: 0.1, seed: 31),
      try GaussianCase(
        "mask", MaskMap(shape, mask: (0..<shape.count).map { $0 % 3 != 1 }), sigma: 0.05, seed: 32),
      try GaussianCase(
        "sums", DenseMap.gaussian(measurements: shape.count / 3, input: shape, seed: 5), sigma: 0.05, seed: 33
      ),
      try GaussianCase("blur", ConvolutionMap(shape, kernel: sharpKernel(3, 2)), sigma: 0.1, seed: 34),
    ]
  }
}

/// Two far modes of known weights in the first value; the second is N(0, 1).
struct TwoModes: DrawablePrior {
  let imageShape = ImageShape(height: 1, width: 2, channels: 1)
  /// Of the mode on the right.
  let weight: Double
  let place = 2.0
  var sd = 0.3
  /// The weight at the greatest noise level: between the levels it is in between, so that p_s isn't p with noise.
  var smoothWeight: Double?

  var noiseLevels: Condition? { smoothWeight == nil ? nil : Condition(least: 0.05, greatest: 3) }

  func smoothed(by s: Double, turn: Int) -> any Prior {
    let (levels, end) = (noiseLevels!, smoothWeight!)
    let share = log(max(s, levels.least) / levels.least) / log(levels.greatest / levels.least)
    let noise = max(s * s - levels.least * levels.least, 0)
    return TwoModes(weight: weight + share * (end - weight), sd: (sd * sd + noise).squareRoot())
  }

  private func logs(_ x: Double) -> (left: Double, right: Double) {
    func log1(_ weight: Double, _ place: Double) -> Double {
      log(weight) - 0.5 * (x - place) * (x - place) / (sd * sd) - log(sd) - 0.5 * log(2 * Double.pi)
    }
    return (log1(1 - weight, -place), log1(weight, place))
  }

  func evaluate(_ x: Vector, gradient: Vector?, _ scratch: Scratch) -> Double {
    let (left, right) = logs(x[0])
    let greatest = max(left, right)
    let total = greatest + log(exp(left - greatest) + exp(right - greatest))
    let share = exp(right - total)
    if let gradient {
      gradient[0] = (share * (x[0] - place) + (1 - share) * (x[0] + place)) / (sd * sd)
      gradient[1] = x[1]
    }
    return -total + 0.5 * x[1] * x[1] + 0.5 * log(2 * Double.pi)
  }

  func draw(into x: Vector, _ random: inout Philox, _ scratch: Scratch) {
    x[0] = (random.uniform() < weight ? place : -place) + sd * random.normal()
    x[1] = random.normal()
  }
}

/// N(μ, C + (s² − l²)I) at the noise levels s from l on: C the covariance of `base`, which is the prior itself.
struct SmoothedGaussian: WrappedPrior {
  let base: WarpedGaussian
  let noiseLevels: Condition?

  init(_ base: WarpedGaussian, levels: Condition = Condition(least: 0.02, greatest: 1)) {
    self.base = base
    noiseLevels = levels
  }

  func smoothed(by s: Double, turn: Int) throws -> any Prior {
    var c = try base.covariance()
    c.addToDiagonal(max(s * s - noiseLevels!.least * noiseLevels!.least, 0))
    let d = count
    let lower = try Cholesky(c).multiplyFactor(Matrix(rows: d, columns: d) { $0 == $1 ? 1 : 0 })
    let rows = (0..<d * d).map { lower[$0 / d, $0 % d] }
    return WarpedGaussian(imageShape: imageShape, mean: base.mean, factor: rows, warp: 0)
  }
}
