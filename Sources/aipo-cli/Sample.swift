import AIPO
import ArgumentParser

/// `aipo sample`: draws of the prior.
struct Sample: Verb {
  static let configuration = CommandConfiguration(
    abstract: "Draw images from a model.",
    discussion: """
      Draw i depends on the seed and i alone. Latents are drawn with the
      temperature as their deviation. Draws that aren't finite are left out,
      with a warning, unless most are.

      Example:
        aipo sample --count 64 --temperature 0.8 --out samples.png
      """)

  @Option(parsing: .unconditional, help: ArgumentHelp("Images to draw.", valueName: "n"))
  var count = 16

  @Option(parsing: .unconditional, help: ArgumentHelp("Deviation of the latents.", valueName: "t"))
  var temperature = 1.0

  @Option(
    help: ArgumentHelp(
      "Where to write them: .png (clipped, a grid where several) or .npy or .npz (unclipped).",
      valueName: "file"))
  var out: OutputPath

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

  private func draw<Scalar: KernelScalar>(_: Scalar.Type) throws -> ExitStatus {
    let prior = try Prior<Scalar>(options: model, common: common)
    let sink = try RowSink<Scalar>(images: out, shape: prior.shape)
    Interrupt.whenOverdue { [weak sink] isUrgent in if !isUrgent { try? sink?.finish() } }
    let progress = ProgressLine("sample", total: count, unit: "images", options: common)
    let batch = batchSize(prior.shape)
    var done = 0
    var leftOut: [Int] = []
    while done < count, !Interrupt.requested {
      let first = done + leftOut.count
      let size = min(batch, count - done)
      let images = try prior.flow.sample(
        indices: first..<first + size, temperature: temperature, seed: common.seed)
      let finite = (0..<size).filter { row in
        images.withUnsafeBufferPointer {
          $0[row * images.rowCount..<(row + 1) * images.rowCount].allSatisfy(\.isFinite)
        }
      }
      leftOut += (0..<size).filter { !finite.contains($0) }.map { first + $0 }
      done += finite.count
      if leftOut.count > max(done, 16) { try requireFinite(images, "sample", first: first) }
      try sink.append(images.rows(finite))
      progress.update(Double(done))
    }
    try sink.finish()
    progress.finish()
    if !leftOut.isEmpty {
      let numbers =
        leftOut.prefix(8).map(String.init).joined(separator: ", ") + (leftOut.count > 8 ? " …" : "")
      common.warn("left out what isn't finite of \(done + leftOut.count) draws: \(numbers)")
    }
    try common.print("\(done) samples in \(out.path)")
    try common.printJSON(
      .object(
        [
          ("out", .string(out.path)), ("count", .int(done)), ("leftOut", .int(leftOut.count)),
          ("temperature", .number(temperature)),
        ]
          + Provenance.members(model: prior.source, common: common)))
    return Interrupt.status ?? .done
  }
}

/// Throws for the first image of a batch that holds a value which isn't finite.
func requireFinite<Scalar: KernelScalar>(_ batch: Tensor<Scalar>, _ what: String, first: Int)
  throws(CommandFailure)
{
  let size = max(batch.rowCount, 1)
  let bad = batch.withUnsafeBufferPointer { $0.firstIndex { !$0.isFinite } }
  guard let bad else { return }
  throw CommandFailure(
    .badData,
    "the model gives \(batch[flat: bad]) at position \(bad % size) of \(what) \(first + bad / size), "
      + "expected a finite number")
}
