import AIPO
import ArgumentParser

/// `aipo measure`: what a model's own images cost in bits.
struct Measure: Verb {
  static let configuration = CommandConfiguration(
    abstract: "Measure how probable a model finds the images it was trained on, and keep that in it.",
    discussion: """
      logprob, encode and reconstruct warn of an image that is less probable than
      999 of 1000 of the training images. A model knows them if `aipo train` made it
      with this version. For another one, an imported checkpoint say, this verb
      measures them and writes a copy that does. Nothing else in the copy changes:
      the weights stay as they are, to the byte.

      The images must be those that the model was trained on. Where the model has a
      recipe, it tells which of them were kept back for validation.

      Example:
        aipo measure --model imported.safetensors --data images/ \\
          --out measured.safetensors
      """)

  @Option(
    help: ArgumentHelp(
      "The training images, as train takes them.", valueName: "images"),
    completion: .file())
  var data: String

  @Option(
    help: ArgumentHelp(
      "Where to write the model with its figures; may be the model itself.", valueName: "file"))
  var out: OutputPath

  @OptionGroup var reading: ReadingOptions
  @OptionGroup var model: ModelOptions
  @OptionGroup var common: CommonOptions

  func outputs() -> [String?] { [out.path] }

  func perform() throws -> ExitStatus {
    var measurement = try ModelMeasurement(model.path())
    do {
      try measurement.measure(
        on: data, reading: reading.reading(), threads: common.threadCount, advise: common.warn,
        isCancelled: { Interrupt.requested })
    } catch is CancellationError { return Interrupt.status ?? .interrupted }
    try measurement.save(path: out.path)
    try common.tell(
      "\(out.path): \(measurement.text)",
      ["out": .string(out.path), "figures": ModelSummary.figures(measurement.model.figures)],
      by: measurement.source)
    return .done
  }
}
