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

  func perform() throws -> ExitStatus {
    try OutputPath.checkWritable([out])
    try common.requireMemory()
    Interrupt.install()
    var (model, source) = try ModelSource.load(try model.path())
    let patch = model.recipe.isEmpty ? "" : try TrainingConfig(yaml: model.recipe, path: source.path).patch
    let isReal = model.dequantization.isNone
    let set = try ImageSet(
      path: data, plane: isReal ? .vectors : .image, layout: reading.layout)
    let images = try TrainingImages(
      reading: set, indices: 0..<set.count, transform: reading.transform, patch: PixelSize(patch),
      areReal: isReal)
    common.warn(
      try set.advice(0..<set.count, transform: reading.transform, clippedFor: "measuring").map(\.description))
    do {
      try model.measureDistributions(
        on: images, threads: common.threadCount, isCancelled: { Interrupt.requested })
    } catch is CancellationError { return Interrupt.status ?? .interrupted }
    try model.saveFigures(path: out.path)
    source.checksum = model.checksum ?? ""
    try common.print(
      "\(out.path): "
        + [model.figures.trainingBits, model.figures.validationBits].compactMap { $0 }
        .map(ModelSummary.text).joined(separator: "; kept back: "))
    try common.printJSON(
      ["out": .string(out.path), "figures": ModelSummary.figures(model.figures)], by: source)
    return .done
  }
}
