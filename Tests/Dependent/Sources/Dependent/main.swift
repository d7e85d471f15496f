import AIPO
import Flows
import Imaging

/// What the README's example reads, in the folder given: a prior, untrained and tiny, a noisy picture, and a study of it.
let folder = CommandLine.arguments[1]
let shape = ImageShape(height: 28, width: 28, channels: 1)
let images = try randomImages(32, shape: shape, seed: 1)
precondition(abs(brightness(images) - 0.5) < 0.1)

let spec = FlowSpec.glow(levels: 1, steps: 2, hidden: 4)
let flow = try Flow<Double>(spec: spec, imageShape: shape, seed: 1)
try flow.initialize(from: images)
let logProb = try flow.logProb(images)
precondition(logProb.allSatisfy { $0.isFinite })

let gaussian = (0..<shape.count).flatMap { i in (0...i).map { $0 == i ? Float(0.01) : 0 } }
var model = FlowModel(
  spec: spec, imageShape: shape, dequantization: Dequantization(bits: 5), tensors: flow.namedTensors,
  statistics: ImageStatistics(
    mean: [Float](repeating: 0.5, count: shape.count), covariance: .full(lowerTriangle: gaussian)))
try model.save(path: folder + "/Models/fashion-mnist-glow.safetensors")
try ImageOutput.write(images.rows([0]), to: folder + "/noisy.png")
try AtomicFile.write(
  """
  title: Two methods
  options: {task: denoise, observation: noisy.png, model: Models/fashion-mnist-glow.safetensors, max-evaluations: 5}
  variants: [{method: [aipo, gaussian]}]
  grids: [{name: all}]
  """, to: folder + "/study.yaml")
print("a dependent package computes \(logProb.count) log-densities, the first of \(logProb[0]) nats")
