import AIPO
import AIPOFlowTesting

// What somebody does who has a blur of their own: checks it, and takes away both the blur and the noise with a shipped prior.
// The argument is the folder of models. Nobody says whether the blur can be inverted.

let models = CommandLine.arguments[1]
let model = try FlowModel.load(path: models + "/fashion-mnist-glow.safetensors")
let pictures = try ImageSet(path: models + "/fashion-mnist-test-100.idx").read([0, 1, 2], as: Double.self)
let pool = ThreadPool(threads: 2)
let scratch = Scratch(pool: pool)
let shape = model.imageShape
let blur = MotionBlur(input: shape, length: 4)
let noise = try GaussianNoise(sigma: 0.03)

try MapChecks.measure(blur).verify()
try MapChecks.measure(MotionBlur(input: ImageShape(height: 7, width: 5, channels: 3), length: 3)).verify()

let truths = try (0..<pictures.shape[0]).map { i in
  try pictures.rows([i]).reshaped([shape.height, shape.width, shape.channels])
}
let observations = try truths.enumerated().map { i, truth in
  var observation = truth
  var random = Philox(seed: 1, index: UInt64(i), purpose: .noise)
  try observation.withMemory { y in
    blur.apply(truth.view, into: y, scratch)
    try noise.sample(prediction: y, into: y, random: &random, scratch)
  }
  return observation
}

let problem = try InverseProblem(maps: [blur], noises: [noise], observations: observations, imageShape: shape)
let prior = try model.prior(try model.makeFlow(Float.self, threads: 1))
let gaussian = try GaussianPrior.ofTrainingImages(model)

/// Mean PSNR in dB.
func quality(_ images: [Tensor<Double>]) throws -> Double {
  let batch = [1, shape.height, shape.width, shape.channels]
  let all = try zip(images, truths).map { image, truth in
    try ImageMetrics.psnr(image.reshaped(batch), truth: truth.reshaped(batch))[0]
  }
  return Estimate(all)!.mean
}

let observed = try quality(observations)
for (method, gain) in [(ReconstructionMethod.gaussian, 9.0), (.fixed, 14), (.aipo, 14)] {
  var options = ReconstructionOptions()
  options.method = method
  let results = try Reconstructor(
    problem: problem, prior: prior, gaussian: gaussian, options: options, pool: pool
  ).run()
  let found = try quality(results.map(\.image))
  print("a blur of one's own: \(observed) dB, by \(method.rawValue) \(found) dB")
  precondition(found > observed + gain)
  // What is left of the observation is the noise.
  if method.usesFlow { precondition(results.allSatisfy { (0.8...1.2).contains($0.misfit) }) }
}
