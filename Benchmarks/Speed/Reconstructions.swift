import AIPO

/// A whole solve with a small random prior: the path, the corrector and everything about them.
func reconstructionBenchmarks() {
  benchmark("reconstruct one image, 60 evaluations") {
    let flow = try randomGlow(levels: 2, steps: 4, hidden: 32, size: 28, channels: 1)
    let truth = try flow.sample(indices: 0..<1, seed: 1)
    var options = ReconstructionOptions()
    options.lambda = .value(1)
    options.maximumEvaluations = 60
    return try Reconstructor(
      problem: InverseProblem(
        maps: [IdentityMap(flow.imageShape)], noises: [GaussianNoise(sigma: 0.1)], observation: truth,
        imageShape: flow.imageShape),
      prior: FlowPrior(flow), gaussian: nil, options: options, pool: flow.pool)
  } run: {
    _ = try $0.run()
  }
}
