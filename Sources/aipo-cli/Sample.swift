import AIPO
import ArgumentParser

/// `aipo sample`: draws of the prior.
struct Sample: Verb {
  static let configuration = CommandConfiguration(
    abstract: "Draw images from a model.",
    discussion: """
      Draw i depends on the seed and i alone. Latents are drawn from N(0, T²),
      with T the temperature. Draws that aren't finite are left out,
      with a warning, unless most are: then nothing is written.

      Example:
        aipo sample --count 64 --temperature 0.8 --out samples.png
        aipo sample --count 1 --size 64x96 --out large.png
      """)

  @Option(parsing: .unconditional, help: ArgumentHelp("Images to draw.", valueName: "n"))
  var count = 16

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("1 draws from the density; less gives images nearer to its middle.", valueName: "t"))
  var temperature = 1.0

  @Option(
    help: ArgumentHelp(
      "Where to write them: .png (clipped, a grid where several) or .npy or .npz (unclipped).",
      valueName: "file"))
  var out: OutputPath

  @Option(
    help: ArgumentHelp("Height and width of the images. (default: those of the training)", valueName: "HxW"))
  var size: PixelSize?

  @OptionGroup var model: ModelOptions
  @OptionGroup var common: CommonOptions

  func validate() throws {
    guard (1...10_000_000).contains(count) else {
      throw ValidationError("--count is \(count), expected 1 to 10000000")
    }
    guard temperature >= 0, temperature.isFinite else {
      throw ValidationError("--temperature is \(temperature), expected a number of 0 or more")
    }
    try out.requireImageSuffix("--out")
  }

  func perform() throws -> ExitStatus {
    try OutputPath.checkWritable([out])
    Interrupt.install()
    return switch common.precision {
    case .float32: try draw(Float.self)
    case .float64: try draw(Double.self)
    }
  }

  private var remedy: String {
    "aren't finite: the model was trained too little, or on too few images; train it further, or draw with "
      + "--temperature \(temperature > 0.75 ? "0.7" : fixed(temperature * 0.7, 2))"
  }

  private func draw<Scalar: KernelScalar>(_: Scalar.Type) throws -> ExitStatus {
    let prior = try Prior<Scalar>(options: model, common: common)
    let flow = try prior.flow(for: size)
    let sink = try RowSink<Scalar>(images: out, shape: flow.imageShape)
    Interrupt.whenOverdue { [weak sink] isUrgent in if !isUrgent { try? sink?.finish() } }
    let progress = ProgressLine("sample", total: count, unit: "images", options: common)
    let batch = batchSize(flow.imageShape)
    var done = 0
    var leftOut: [Int] = []
    while done < count, !Interrupt.requested {
      let first = done + leftOut.count
      let size = min(batch, count - done)
      let images = try flow.sample(
        indices: first..<first + size, temperature: temperature, seed: common.seed)
      let finite = images.finiteRows
      leftOut += (0..<size).filter { !finite.contains($0) }.map { first + $0 }
      done += finite.count
      guard leftOut.count <= max(done, 16) else {
        throw CommandFailure(.badData, "\(leftOut.count) of \(done + leftOut.count) draws \(remedy)")
      }
      try sink.append(images.rows(finite))
      progress.update(Double(done))
    }
    try sink.finish()
    progress.finish()
    var advices = AdviceList()
    if !leftOut.isEmpty {
      let drawn = done + leftOut.count
      let advice = Advice(
        "draws aren't finite",
        "left out \(leftOut.count) of \(drawn) draws (\(fixed(100 * Double(leftOut.count) / Double(drawn), 0)) %: "
          + "\(Advice.list(leftOut))), which \(remedy)")
      common.warn(advices.add([advice]))
    }
    try common.print("\(done) samples in \(out.path)")
    try common.printJSON(
      .object(
        [
          ("out", .string(out.path)), ("count", .int(done)), ("leftOut", .int(leftOut.count)),
          ("temperature", .number(temperature)), ("warnings", .warnings(advices)),
        ]
          + Provenance.members(model: prior.source, common: common)))
    return Interrupt.status ?? .done
  }
}
