import AIPO

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// Shows and draws what a training tells: the progress line, sample sheets and the picture of the loss.
struct TrainingMonitor {
  private let progress: ProgressLine
  private let folder: RunFolder
  private let common: CommonOptions
  private var validation: Double?
  private var hasBegun = false

  init(progress: ProgressLine, folder: RunFolder, common: CommonOptions) {
    self.progress = progress
    self.folder = folder
    self.common = common
  }

  mutating func observe<Scalar>(_ event: TrainingEvent<Scalar>) throws {
    switch event {
    case .begun(let start): try tell(start)
    case .step(let step, _, let bits, _, let rate):
      // The first step of this process, wherever a resumed run goes on, starts the clock.
      if !hasBegun { progress.begin(at: Double(step)) }
      hasBegun = true
      progress.update(
        Double(step),
        "\(fixed(bits, 3)) bits/dim" + (validation.map { ", validation \(fixed($0, 3))" } ?? "")
          + ", rate \(fixed(rate, 6))")
    case .rolledBack(let step, let reason, let scale):
      common.warn(
        "step \(step) undone: \(reason); the rate is \(fixed(scale, 4)) of the schedule's for a while")
    case .validation(let step, let value):
      validation = value.bitsPerDim
      common.remark("step \(step): validation \(fixed(value.bitsPerDim, 4)) bits/dim")
    case .samples(let step, let images, let flow): try drawSamples(images, of: flow, step: step)
    case .checkpoint(let step):
      try drawLoss()
      common.remark("step \(step): checkpoint")
    }
  }

  private func tell(_ start: TrainingStart) throws {
    let (training, validation) = (start.split.training.count, start.split.validation.count)
    let things =
      start.shape.isVector
      ? "vectors of \(counted(start.shape.channels, "value"))"
      : "pictures" + (start.isPatched ? ", in patches of \(start.shape)" : " of \(start.shape)")
    try common.print(
      validation == 0
        ? "training on all \(training) \(things); none is kept back to validate on"
        : "training on \(training), validating on \(validation) of \(training + validation) \(things)")
    common.warn(start.advice.map(\.description))
    guard start.step > 0 else { return }
    try common.print(
      start.step < start.steps
        ? "going on from step \(start.step) to \(start.steps)"
        : "all \(start.steps) steps are made; a larger --steps goes on")
    if start.hasOtherRates {
      try common.print(
        "the learning rate is \(fixed(start.rate, 6)) from here, as in a run of \(start.steps) steps; "
          + "steps that were made had another")
    }
  }

  /// A sheet of images; of vectors the numbers, and a picture of the density where they have two values.
  private func drawSamples<Scalar>(_ images: Tensor<Scalar>, of flow: any TrainableFlow<Scalar>, step: Int)
    throws
  {
    let isVector = flow.imageShape.isVector
    try ImageOutput.write(images, to: "\(folder.path)/samples-\(step).\(isVector ? "npy" : "png")")
    guard flow.imageShape == .vector(2), let flow = flow as? Flow<Scalar> else { return }
    let density = try PlaneDensity(flow, pixels: 384, draws: images.shape[0], seed: 0, isCancelled: { false })
    try density?.picture(depth: 10).write(to: "\(folder.path)/density-\(step).png")
  }

  /// Draws loss.svg from the log, so that it is the same however often the run was stopped.
  func drawLoss() throws {
    struct Line: Decodable {
      var step: Int
      var bitsPerDim: Double?
      var validationBitsPerDim: Double?
    }
    let path = folder.path + "/log.jsonl"
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
      to: folder.path + "/loss.svg")
  }
}
