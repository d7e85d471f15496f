import AIPOFlowTesting
import AIPOInverseProblems
import AIPOKernels
import Testing

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// The slope of log |L(x + hv) − L(x) − h∇Lᵀv| in log h: 2 for a right gradient.
func taylorSlope(_ objective: any Objective, at x: [Double], weights: ObjectiveWeights, seed: UInt64)
  throws -> Double
{
  let v = randomVector(x.count, seed: seed)
  let steps = [1e-4, 5e-5, 2.5e-5, 1.25e-5]
  let points = [x] + steps.map { adding(x, v, scaledBy: $0) }
  let samples = try objective.evaluate(
    points, images: points.map { _ in 0 }, weights: points.map { _ in weights })
  let base = try #require(samples[0])
  let slope = dot(base.gradient(weights), v)
  let remainders = try steps.indices.map { k in
    let value = try #require(samples[k + 1]).value(weights)
    return (value - base.value(weights) - steps[k] * slope).magnitude
  }
  return log2(remainders[0] / remainders[3]) / 3
}

@Suite struct ObjectiveTests {
  let shape = ImageShape(height: 3, width: 4, channels: 1)

  func problem(_ a: any ForwardOperator) throws -> InverseProblem {
    try InverseProblem(
      operators: [a], noise: try GaussianNoise(sigma: 0.2),
      observations: [randomVector(a.outputCount, seed: 50)], imageShape: shape)
  }

  func gaussian() throws -> GaussianDensity {
    try GaussianDensity(
      imageShape: shape, mean: randomVector(12, seed: 51),
      covariance: .dense(try randomCovariance(12, seed: 52)))
  }

  @Test func gradientsByTaylorRemainder() throws {
    let prior = WarpedGaussian<Double>.random(imageShape: shape, warp: 0.6, seed: 8)
    let gaussian = try gaussian()
    var operators: [(String, any ForwardOperator)] = try allOperators().map { ($0.name, $0.value) }
    operators.append(("saturation", Saturation(inputCount: 12)))
    for (name, a) in operators {
      let pixel = try PixelObjective(problem: try problem(a), prior: prior, gaussian: gaussian)
      let latent = try LatentObjective(problem: try problem(a), prior: prior, gaussian: gaussian)
      for t in [0, 0.4, 1] {
        let weights = ObjectiveWeights(lambda: 0.8, t: t)
        let point = randomVector(12, seed: 53)
        #expect(try taylorSlope(pixel, at: point, weights: weights, seed: 54) >= 1.9, "x \(name) \(t)")
        #expect(try taylorSlope(latent, at: point, weights: weights, seed: 54) >= 1.9, "z \(name) \(t)")
      }
    }
  }

  /// Both spaces give the same objective at the same image: the log-determinant is all there.
  @Test func latentObjectiveEqualsPixelObjective() throws {
    let prior = WarpedGaussian<Double>.random(imageShape: shape, warp: 0.5, seed: 9)
    let problem = try problem(IdentityOperator(count: 12))
    let pixel = try PixelObjective(problem: problem, prior: prior, gaussian: nil)
    let latent = try LatentObjective(problem: problem, prior: prior, gaussian: nil)
    let z = randomVector(12, seed: 60)
    let x = try #require(try latent.values([z])[0])
    let weights = [ObjectiveWeights(lambda: 0.3)]
    let inX = try #require(try pixel.evaluate([x], images: [0], weights: weights)[0])
    let inZ = try #require(try latent.evaluate([z], images: [0], weights: weights)[0])
    #expect((inX.recon - inZ.recon).magnitude < 1e-9)
    #expect((inX.flow! - inZ.flow!).magnitude < 1e-9)
    let back = try #require(try latent.latents([x])[0])
    #expect(norm(adding(back, z, scaledBy: -1)) < 1e-9)
  }

  @Test func pointsThatAreNotFiniteDisturbNoOther() throws {
    let prior = WarpedGaussian<Float>.random(imageShape: shape, warp: 0.5, seed: 9)
    let base = try problem(IdentityOperator(count: 12))
    let objective = try PixelObjective(problem: base, prior: prior, gaussian: nil)
    let x = objective.representable(randomVector(12, seed: 61))
    let weights = ObjectiveWeights(lambda: 1)
    var wild = x
    wild[3] = .nan
    let samples = try objective.evaluate(
      [x, wild, x], images: [0, 0, 0], weights: [weights, weights, weights])
    #expect(samples[1] == nil)
    #expect(samples[0]!.value(weights) == samples[2]!.value(weights))
    #expect(throws: ProblemError.self) {
      try PixelObjective(
        problem: base,
        prior: WarpedGaussian<Float>.random(
          imageShape: ImageShape(height: 4, width: 4, channels: 1), warp: 0, seed: 1),
        gaussian: nil)
    }
  }
}
