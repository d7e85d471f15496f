import AIPO
import ArgumentParser

/// Images for `encode` and `logprob`.
struct InputImageOptions: ParsableArguments {
  @Argument(
    help: "Images: PNG, JPEG, TIFF, WebP, a folder of these, NPY, IDX, HDF5, MAT or NIfTI.",
    completion: .file())
  var input: String

  @Flag(
    help: "Take values as they are; without it 8-bit pixels go to the middle of their dequantisation bin.")
  var raw = false

  @OptionGroup var reading: ReadingOptions

  /// Opens the images in a shape that a model accepts, and warns of what stands out about them.
  func open<Scalar: KernelScalar>(
    for model: LoadedModel<Scalar>, common: CommonOptions
  ) throws -> (images: ModelImages, advices: AdviceList) {
    let images = try ModelImages(path: input, reading: reading.reading(), model: model.model)
    var advices = AdviceList()
    // Real numbers have no scale that they must be on.
    common.warn(advices.add(model.dequantization.isNone ? images.images.advice : try images.advice()))
    return (images, advices)
  }
}

/// `aipo encode`: latents of images.
struct Encode: ScalarVerb {
  static let configuration = CommandConfiguration(
    abstract: "Turn images into latents.",
    discussion: """
      Writes ε as an NPY of shape [n, d], so standardised that
      log p(x) = log N(ε; 0, I) + log |det ∂ε/∂x| with x on [0, 1]. The values of
      a row come level by level, the finest first: what each split puts aside,
      then what the last level leaves, each in h, w, c order.

      An image without finite latents is named, its row is NaN, and the exit code
      is 75. One that doesn't come back from its latents within rounding is named
      too. Either costs the other images nothing.

      Example:
        aipo encode images.npy --out latents.npy
      """)

  @OptionGroup var images: InputImageOptions

  @Option(help: ArgumentHelp("Where to write the latents, an NPY or NPZ.", valueName: "file"))
  var out: OutputPath

  @OptionGroup var model: ModelOptions
  @OptionGroup var common: CommonOptions

  func validate() throws { try out.require([.array]) }

  func outputs() -> [String?] { [out.path] }

  func perform<Scalar: KernelScalar>(in _: Scalar.Type) throws -> ExitStatus {
    let model = try common.load(model, as: Scalar.self)
    let (input, advices) = try images.open(for: model, common: common)
    let sink = try RowSink(rows: out.path, rowShape: [input.shape.count], precision: common.precision)
    let rows = try common.writing("encode", total: input.count, to: sink) { observer in
      // Images on another scale are unlike all others, but that is told.
      try model.encode(
        input, raw: images.raw, judges: !advices.contains("range"), seed: common.seed, observer: observer,
        to: sink.append)
    }
    return try common.finish(
      rows, "latents of \(rows.logDet.count) images in \(out.path)", out: out, after: advices, model.source,
      as: Scalar.self)
  }
}

extension CommonOptions {
  /// Does work that writes rows, of which an interruption keeps those that are there.
  func writing<Result>(
    _ title: String, total: Int, to sink: RowSink, _ work: (WorkObserver) throws -> Result
  ) throws -> Result {
    Interrupt.whenOverdue { [weak sink] isUrgent in if !isUrgent { try? sink?.finish() } }
    return try observing(title, total: total, unit: "images") { observer in
      let result = try work(observer)
      try sink.finish()
      return result
    }
  }

  /// Says what `encode` or `decode` wrote, in words or as JSON with the log-determinants, and warns of rows that stand
  /// out.
  func finish<Scalar: KernelScalar>(
    _ rows: TransformedRows, _ text: String, out: OutputPath, after earlier: AdviceList, _ model: ModelSource,
    as _: Scalar.Type
  ) throws -> ExitStatus {
    var advices = earlier
    warn(advices.add(rows.advices(in: Scalar.self)))
    try tell(
      text,
      [
        "out": .string(out.path), "count": .int(rows.logDet.count),
        "logDet": .array(rows.logDet.map { .number($0) }), "warnings": .warnings(advices),
      ], by: model)
    return Interrupt.status ?? (rows.unusable.isEmpty ? .done : .noResult)
  }
}
