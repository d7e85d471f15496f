import AIPOFlowTesting
import AIPOFlows
import AIPOKernels
import AIPOPriors
import AIPOProblems
import AIPOTestCases
import Testing

@testable import AIPOSolvers

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// Choosing λ by Stein's risk.
@Suite struct LambdaTests {
  // MARK: The rule

  /// A trial with this risk.
  private func trial(_ lambda: Double, risk: Double) -> LambdaTrial {
    let trial = LambdaTrial(lambda: lambda, recon: risk, degreesOfFreedom: 0)
    #expect((trial.risk - risk).magnitude < 1e-12)
    return trial
  }

  /// Follows the rule's decisions to the end; the λ tried, in order, and the one chosen.
  private func walk(_ rule: RiskRule, _ risk: (Double) -> Double) -> (tried: [Double], chosen: Double) {
    var trials = [trial(rule.first, risk: risk(rule.first))]
    while trials.count < 20 {
      switch rule.decide(trials) {
      case .attempt(let lambda): trials.append(trial(lambda, risk: risk(lambda)))
      case .settle(let lambda): return (trials.map(\.lambda), lambda)
      }
    }
    return (trials.map(\.lambda), .nan)
  }

  /// Of sums: the exact weight where a value shows nearly without noise, else from the rung nearest to the usual λ.
  @Test func rulesOfSums() throws {
    for sigma in [0.005, 0.04] where RiskRule().ofSums(sigma: sigma) != nil { Issue.record("\(sigma)") }
    for (sigma, expected) in [(0.1, 0.5), (0.21, 0.35), (1.06, 0.125), (100, 0.25 / 8.0.squareRoot())] {
      let rule = try #require(RiskRule().ofSums(sigma: sigma))
      #expect((rule.first / expected - 1).magnitude < 0.03, "\(sigma) \(rule.first)")
    }
  }

  @Test func riskIsItsFormula() {
    #expect(LambdaTrial(lambda: 0.5, recon: -3, degreesOfFreedom: 25).risk == 22)
  }

  @Test func walksTowardsTheLowerRisk() {
    let rule = RiskRule()
    #expect(rule.first == 0.5)
    // Down to the foot, where the risk falls with λ; up to the top, where it rises.
    let down = walk(rule) { $0 }
    #expect(down.tried == [0.5, 0.35, 0.25] && down.chosen == 0.25)
    let up = walk(rule) { -$0 }
    #expect(up.tried == [0.5, 0.35, 0.7, 1] && up.chosen == 1)
  }

  /// Between three rungs a parabola in log λ is met exactly.
  @Test(arguments: [0.3, 0.36, 0.45, 0.5, 0.55, 0.8]) func settlesAtAParabolasVertex(_ best: Double) {
    let (tried, chosen) = walk(RiskRule()) { 3 + 2 * log($0 / best) * log($0 / best) }
    #expect((chosen - best).magnitude < 1e-12, "\(tried) \(chosen)")
    #expect(tried.contains { $0 > best } && tried.contains { $0 < best })
  }

  /// What holds λ near the usual is as a parabola of its own.
  @Test func aFlatRiskSettlesAtTheUsual() {
    let rule = RiskRule(usual: 0.4, pull: 0.025)
    func trials(_ curvature: Double, best: Double, sigma: Double = 0.1) -> [LambdaTrial] {
      [0.5, 0.35, 0.25].map {
        LambdaTrial(
          lambda: $0, recon: curvature * log($0 / best) * log($0 / best), degreesOfFreedom: 0,
          measurements: 1000, sigma: sigma)
      }
    }
    guard case .settle(let flat) = rule.decide(trials(0, best: 1)),
      case .settle(let noisy) = rule.decide(trials(0, best: 1, sigma: 0.144)),
      case .settle(let half) = rule.decide(trials(25, best: 0.36))
    else {
      Issue.record("no end")
      return
    }
    #expect((flat - 0.4).magnitude < 1e-12 && (half - (0.4 * 0.36).squareRoot()).magnitude < 1e-12)
    #expect((noisy - 0.4 / 1.2).magnitude < 1e-12)
  }

  @Test func aVertexStaysBetweenTheRungs() {
    // Nearly a corner at 0.5: the vertex lies between it and the lower neighbour.
    let risks = [0.7: 0.6, 0.5: 0.0, 0.35: 0.001]
    guard case .settle(let chosen) = RiskRule().decide(risks.map { trial($0.key, risk: $0.value) }) else {
      Issue.record("no decision")
      return
    }
    #expect(chosen > 0.35 && chosen < 0.5)
    // Three equal risks have no vertex.
    let flat = [0.7, 0.5, 0.35].map { trial($0, risk: $0 == 0.5 ? 1 : 1 + 1e-15) }
    guard case .settle(let middle) = RiskRule().decide(flat) else {
      Issue.record("no decision")
      return
    }
    #expect(middle >= 0.35 && middle <= 0.7)
  }

  /// Whatever the risks: each rung once at most, and a choice no farther than the best rung's neighbours.
  @Test func everyWalkEnds() {
    var random = Philox(seed: 1, purpose: .test)
    for start in 0..<5 {
      for _ in 0..<40 {
        let rule = RiskRule(start: start)
        let risks = Dictionary(uniqueKeysWithValues: rule.ladder.map { ($0, random.normal()) })
        let (tried, chosen) = walk(rule) { risks[$0]! }
        #expect(Set(tried).count == tried.count && tried.first == rule.ladder[start])
        let best = tried.min { risks[$0]! < risks[$1]! }!
        let rung = rule.ladder.firstIndex(of: best)!
        #expect(chosen <= rule.ladder[max(rung - 1, 0)] && chosen >= rule.ladder[min(rung + 1, 4)])
        // The order in which the trials came doesn't matter.
        let trials = tried.map { trial($0, risk: risks[$0]!) }
        #expect(rule.decide(trials) == rule.decide(trials.reversed()))
      }
    }
  }

  @Test func aLambdaOffTheLadderIsTaken() {
    #expect(RiskRule().decide([trial(0.42, risk: 1)]) == .settle(0.42))
    #expect(RiskRule(ladder: [0.9], start: 0).decide([trial(0.9, risk: 1)]) == .settle(0.9))
  }

  // MARK: Degrees of freedom

  private let shape = ImageShape(height: 3, width: 4, channels: 1)

  /// `S = w A (w AᵀA + λC⁻¹)⁻¹ Aᵀ`, the derivative of f(x*) by y under a Gaussian prior, with `(…)⁻¹`.
  private func smoother(_ a: any LinearMap, weight: Double, lambda: Double, covariance: Matrix) throws
    -> (matrix: Matrix, inverse: Matrix)
  {
    let dense = try a.matrix()
    var h = try covariance.inverted().inverse
    h.scale(by: lambda)
    h.add(try dense.transposedTimes(dense), scaledBy: weight)
    let inverse = try h.inverted().inverse
    var matrix = try dense.times(inverse).timesTransposed(dense)
    matrix.scale(by: weight)
    return (matrix, inverse)
  }

  private func trace(_ matrix: Matrix) -> Double { (0..<matrix.rows).reduce(0) { $0 + matrix[$1, $1] } }

  private let point = randomVector(12, seed: 8)

  /// The measurements of the point.
  private func measured(_ a: any LinearMap) throws -> [Double] {
    adding(try a.apply(point), randomVector(a.output.count, seed: 5), scaledBy: 0.1)
  }

  private func probe(_ a: any LinearMap, _ noise: any NoiseModel, source: Int) throws -> FreedomProbe {
    let y = try measured(a)
    return try FreedomProbe(
      try DataTerm(a, noise, y), linearMap: a, noise: try noise.curvature(y), seed: 1, source: UInt64(source),
      Scratch())
  }

  /// A sample at the point without a slope, tilted by a probe: its data term and its gradient.
  private func tilted(_ probe: FreedomProbe) throws -> (recon: Double, gradient: [Double]) {
    let sample = try ObjectiveSample(dimension: 12)
    sample.point.copy(from: point)
    sample.pixels.copy(from: point)
    (sample.recon, sample.flow) = (3, 1)
    try probe.tilt(sample, Scratch())
    return (sample.recon, sample.gradient(ObjectiveWeights(lambda: 0.7)))
  }

  private func freedom(_ probe: FreedomProbe, moved: [Double]) throws -> Double {
    try point.asVector { point in
      try moved.asVector { try probe.degreesOfFreedom(point, moved: $0, Scratch()) }
    }
  }

  /// A bounded score is moved no further than a measurement can move it: the measurements are moved by one
  /// deviation of the curvature's, and a fit that follows them wholly has all degrees of freedom.
  @Test func probeUnderBoundedScore() throws {
    let law = try LaplaceNoise(sigma: 0.2)
    let b = 0.2 / 2.0.squareRoot()
    let map = IdentityMap(shape)
    let y = try measured(map)
    let probe = try probe(map, law, source: 2)
    let score = try tilted(probe).gradient
    let signs = (0..<12).map { i in
      let up = law.negativeLogLikelihood(y[i] + b, prediction: point[i]).derivative
      let down = law.negativeLogLikelihood(y[i] - b, prediction: point[i]).derivative
      #expect(up != down && (score[i] - up).magnitude < 1e-9 || (score[i] - down).magnitude < 1e-9)
      return (score[i] - up).magnitude < (score[i] - down).magnitude ? 1.0 : -1.0
    }
    #expect(score.allSatisfy { $0.magnitude <= 1 / b + 1e-9 })
    #expect(Set(signs).count == 2)
    #expect((try freedom(probe, moved: adding(point, signs, scaledBy: b)) - 12).magnitude < 1e-9)
  }

  /// The mean of the estimates that are solved exactly is `expected`.
  private func expectMean(_ values: [Double], _ expected: Double) {
    let count = Double(values.count)
    let mean = values.reduce(0, +) / count
    let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / (count - 1)
    #expect((mean - expected).magnitude < 4.5 * (variance / count).squareRoot() + 1e-9)
  }

  /// Solved exactly, one probe gives bᵀSb, and the mean over probes tr S.
  @Test func probeEstimatesTheTrace() throws {
    let covariance = try randomCovariance(12, seed: 3)
    let weight = 25.0
    for a in try [
      IdentityMap(shape), MaskMap(shape, mask: (0..<12).map { $0 % 3 != 0 }),
      DenseMap.gaussian(measurements: 5, input: shape, seed: 1), CyclicDifference(input: shape),
    ] as [any LinearMap] {
      let (matrix, inverse) = try smoother(a, weight: weight, lambda: 0.7, covariance: covariance)
      var values: [Double] = []
      for source in 0..<400 {
        let probe = try probe(a, GaussianNoise(sigma: 0.2), source: source)
        // At the minimum the tilt alone is the gradient of the moved objective, against its sign.
        let (recon, gradient) = try tilted(probe)
        let tilt = gradient.map { -$0 }
        #expect((recon - (3 - dot(tilt, point))).magnitude < 1e-9)
        values.append(try freedom(probe, moved: adding(point, inverse.times(tilt))))
        if a is IdentityMap {
          // Signs of one size: the weight times one noise deviation.
          #expect(tilt.allSatisfy { ($0.magnitude - weight * 0.2).magnitude < 1e-12 })
          let signs = tilt.map { $0 < 0 ? -1.0 : 1.0 }
          #expect((values[source] - dot(signs, matrix.times(signs))).magnitude < 1e-10)
        }
      }
      expectMean(values, trace(matrix))
      let mean = values.reduce(0, +) / 400
      #expect(mean > 0 && mean < Double(a.output.count))
    }
  }

  /// Under noise of covariance Σ the probe estimates `tr Σ⁻¹(Σ⁻¹ + λC⁻¹)⁻¹`.
  @Test func probeUnderAnyCovariance() throws {
    let noise = try randomCovariance(12, seed: 4)
    let precision = try noise.inverted().inverse
    var h = try randomCovariance(12, seed: 3).inverted().inverse
    h.scale(by: 0.7)
    h.add(precision, scaledBy: 1)
    let inverse = try h.inverted().inverse
    let values = try (0..<400).map { source in
      let probe = try probe(IdentityMap(shape), GaussianNoise(covariance: noise), source: source)
      let tilt = try tilted(probe).gradient.map { -$0 }
      return try freedom(probe, moved: adding(point, inverse.times(tilt)))
    }
    expectMean(values, trace(try precision.times(inverse)))
  }

  /// Tries three λ and keeps what it is told.
  private final class Recorder: LambdaRule, @unchecked Sendable {
    static let lambdas = [0.5, 1, 0.25]
    let first = 0.5
    let probeEvaluations = 24
    var trials: [Double: [LambdaTrial]] = [:]

    func decide(_ trials: [LambdaTrial]) -> LambdaDecision {
      let last = trials[trials.count - 1]
      self.trials[last.lambda, default: []].append(last)
      return trials.count < 3 ? .attempt(Self.lambdas[trials.count]) : .settle(0.6)
    }
  }

  /// The whole of it under a Gaussian prior: what the solver finds in its few evaluations are the closed form's
  /// residual and degrees of freedom.
  @Test func trialsAreTheClosedForms() throws {
    let shape = ImageShape(height: 6, width: 6, channels: 1)
    let prior = WarpedGaussian.random(imageShape: shape, warp: 0, seed: 31)
    let density = try prior.unwarped()
    let count = 24
    let y = try (0..<count).map { i in
      adding(
        try written(36) { try density.sample(seed: 1, index: i, into: $0, $1) },
        randomVector(36, seed: 500 + UInt64(i)), scaledBy: 0.2)
    }
    let (map, noise) = (IdentityMap(shape), try GaussianNoise(sigma: 0.2))
    let recorder = Recorder()
    var options = ReconstructionOptions()
    options.lambdaRule = recorder
    let results = try reconstruct(InverseProblem(map, noise, y), prior, density, options)
    #expect(results.allSatisfy { $0.lambda == 0.6 && $0.converged })
    for lambda in Recorder.lambdas {
      let trials = try #require(recorder.trials[lambda])
      #expect(trials.count == count)
      let (matrix, _) = try smoother(map, weight: 25, lambda: lambda, covariance: density.covariance.matrix)
      // The variance of a probe of signs is 2 Σ_{i≠j} S².
      var variance = 0.0
      for i in 0..<36 { for j in 0..<36 where i != j { variance += 2 * matrix[i, j] * matrix[i, j] } }
      let mean = trials.reduce(0) { $0 + $1.degreesOfFreedom } / Double(count)
      let expected = trace(matrix)
      #expect(
        (mean - expected).magnitude < 4.5 * (variance / Double(count)).squareRoot() + 0.01 * expected,
        "λ = \(lambda): \(mean), expected \(expected)")
      let residual = try y.reduce(0) { sum, y in
        let miss = distance(try density.posteriorMean(map, noise, y, lambda: lambda), y)
        return sum + miss * miss
      }
      // What is above the constants.
      let constant = Double(count) * 36 * 0.5 * log(2 * Double.pi * 0.04)
      let found = 2 * 0.04 * (trials.reduce(0) { $0 + $1.recon } - constant)
      #expect((found - residual).magnitude < 0.02 * residual, "λ = \(lambda): \(found), \(residual)")
    }
  }
}
