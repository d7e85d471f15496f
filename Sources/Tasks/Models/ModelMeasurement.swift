import AIPOFlows
import AIPOImaging
import AIPOKernels

/// What a model's own images cost in bits, measured and kept in a copy of it. Weights stay as they are, to the byte.
public struct ModelMeasurement {
  public private(set) var model: FlowModel
  public private(set) var source: ModelSource

  public init(_ path: String) throws(FileError) { (model, source) = try ModelSource.load(path) }

  /// Measures on the images that the model was trained on. `advise` is given what looks like a mistake about them, before.
  ///
  /// Throws `CancellationError` where it was cancelled.
  public mutating func measure(
    on path: String, reading: ImageReading = ImageReading(), threads: Int = ThreadPool.availableCores,
    advise: ([Advice]) -> Void = { _ in }, isCancelled: () -> Bool = { false }
  ) throws {
    let patch = model.recipe.isEmpty ? "" : try TrainingConfig(yaml: model.recipe, path: source.path).patch
    let isReal = model.dequantization.isNone
    let set = try ImageSet(path: path, plane: isReal ? .vectors : .image, layout: reading.layout)
    let images = try TrainingImages(
      reading: set, indices: 0..<set.count, transform: reading.transform, patch: PixelSize(patch),
      areReal: isReal)
    advise(try set.advice(0..<set.count, transform: reading.transform, clippedFor: "measuring"))
    try model.measureDistributions(on: images, threads: threads, isCancelled: isCancelled)
  }

  /// Writes the model with its figures; the path may be its own.
  public mutating func save(path: String) throws {
    try model.saveFigures(path: path)
    source.checksum = model.checksum ?? ""
  }

  /// What was measured.
  package var text: String {
    [model.figures.trainingBits, model.figures.validationBits].compactMap { $0 }.map(ModelSummary.text)
      .joined(separator: "; kept back: ")
  }
}
