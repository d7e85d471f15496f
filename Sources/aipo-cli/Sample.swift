import AIPO
import ArgumentParser

/// `aipo sample`: draws of the prior.
struct Sample: ScalarVerb {
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

  @Option(help: .images("Where to write them"))
  var out: OutputPath

  @OptionGroup var format: DecodedImageOptions
  @OptionGroup var model: ModelOptions
  @OptionGroup var common: CommonOptions

  func validate() throws {
    try require(("count", count, 1...10_000_000))
    guard temperature >= 0, temperature.isFinite else {
      throw ValidationError("--temperature is \(temperature), expected a number of 0 or more")
    }
    try out.require(ImageOutputFormat.allCases)
  }

  func outputs() -> [String?] { [out.path] }

  func perform<Scalar: KernelScalar>(in _: Scalar.Type) throws -> ExitStatus {
    let model = try common.load(model, as: Scalar.self)
    let sink = try RowSink(
      images: out.path, shape: try model.flow(for: format.size).imageShape, precision: common.precision)
    let (done, advice, leftOut) = try common.writing("sample", total: count, to: sink) { observer in
      try model.sample(
        count: count, temperature: temperature, size: format.size, seed: common.seed, observer: observer,
        to: sink.append)
    }
    var advices = AdviceList()
    common.warn(advices.add(advice.map { [$0] } ?? []))
    try common.tell(
      "\(done) samples in \(out.path)",
      [
        "out": .string(out.path), "count": .int(done), "leftOut": .int(leftOut),
        "temperature": .number(temperature), "warnings": .warnings(advices),
      ], by: model.source)
    return Interrupt.status ?? .done
  }
}
