import AIPOFlows
import AIPOImaging
import AIPOKernels

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// What a training draws into its folder: sample sheets and the picture of the loss.
struct TrainingPictures {
  let folder: String

  func observe<Scalar>(_ event: TrainingEvent<Scalar>) throws {
    switch event {
    case .samples(let step, let images, let flow): try drawSamples(images, of: flow, step: step)
    case .checkpoint: try drawLoss()
    default: break
    }
  }

  /// A sheet of images; of vectors the numbers, and a picture of the density where they have two values.
  private func drawSamples<Scalar>(_ images: Tensor<Scalar>, of flow: any TrainableFlow<Scalar>, step: Int)
    throws
  {
    let isVector = flow.imageShape.isVector
    try ImageOutput.write(images, to: "\(folder)/samples-\(step).\(isVector ? "npy" : "png")")
    guard flow.imageShape == .vector(2), let flow = flow as? Flow<Scalar> else { return }
    let density = try PlaneDensity(flow, pixels: 384, draws: images.shape[0], seed: 0, isCancelled: { false })
    try density?.picture(depth: 10).write(to: "\(folder)/density-\(step).png")
  }

  /// Draws loss.svg from the log, so that it is the same however often the run was stopped.
  func drawLoss() throws {
    struct Line: Decodable {
      var step: Int
      var bitsPerDim: Double?
      var validationBitsPerDim: Double?
    }
    let path = folder + "/log.jsonl"
    let bytes = try InputFile.bytes(path: path, limit: 1 << 30)
    let decoder = JSONDecoder()
    let lines = bytes.split(separator: UInt8(ascii: "\n")).compactMap {
      try? decoder.decode(Line.self, from: Data($0))
    }
    let training = lines.filter { $0.bitsPerDim != nil }
    let measured = lines.filter { $0.validationBitsPerDim != nil }
    guard !training.isEmpty else { return }
    var series = [
      LineChart.Series(
        name: "training", x: training.map { Double($0.step) }, y: training.map(\.bitsPerDim))
    ]
    if !measured.isEmpty {
      series.append(
        LineChart.Series(
          name: "validation", x: measured.map { Double($0.step) }, y: measured.map(\.validationBitsPerDim)))
    }
    try LineChart(title: "Loss", xLabel: "step", yLabel: "bits/dim", series: series).write(
      to: folder + "/loss.svg")
  }
}
