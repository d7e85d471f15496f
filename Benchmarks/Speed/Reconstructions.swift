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
        operators: [IdentityOperator(count: truth.count)], noise: GaussianNoise(sigma: 0.1),
        observation: truth, imageShape: flow.imageShape),
      prior: flow, gaussian: nil, options: options)
  } run: {
    _ = try $0.run()
  }
}
