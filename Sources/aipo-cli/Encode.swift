import AIPO
import ArgumentParser

/// Images for `encode` and `logprob`.
struct InputImageOptions: ParsableArguments {
  @Argument(
    help: "Images: PNG, JPEG, a folder of them with its sub-folders, IDX, NPY, or gzip of the last two.",
    completion: .file())
  var input: String

  @Flag(
    help: "Take values as they are; without it 8-bit pixels go to the middle of their dequantisation bin.")
  var raw = false

  @OptionGroup var reading: ReadingOptions

  /// Opens the images in a shape that a model accepts, and warns of what stands out about them.
  func open<Scalar: KernelScalar>(
    for prior: Prior<Scalar>, common: CommonOptions
  ) throws -> (images: ModelImages, advices: AdviceList) {
    let images = try ModelImages(path: input, reading: reading, model: prior.model)
    var advices = AdviceList()
    // Real numbers have no scale that they must be on.
    common.warn(advices.add(prior.dequantization.isNone ? images.images.advice : try images.advice()))
    return (images, advices)
  }

  /// Reads some of them as the density takes them.
  func read<Scalar: KernelScalar>(
    _ images: ModelImages, _ range: Range<Int>, dequantization: Dequantization
  ) throws -> Tensor<Scalar> {
    let values: Tensor<Scalar> = try images.read(range)
    return raw || !images.images.isEightBit ? values : dequantization.middles(of: values)
  }
}

/// `aipo encode`: latents of images.
struct Encode: Verb {
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

  func validate() throws { try out.requireArraySuffix("--out") }

  func perform() throws -> ExitStatus {
    try OutputPath.checkWritable([out])
    Interrupt.install()
    return switch common.precision {
    case .float32: try encode(Float.self)
    case .float64: try encode(Double.self)
    }
  }

  private func encode<Scalar: KernelScalar>(_: Scalar.Type) throws -> ExitStatus {
    let prior = try Prior<Scalar>(options: model, common: common)
    let (input, reading) = try images.open(for: prior, common: common)
    let flow = try prior.flow.at(input.shape)
    let sink = try RowSink<Scalar>(rows: out, rowShape: [input.shape.count])
    Interrupt.whenOverdue { [weak sink] isUrgent in if !isUrgent { try? sink?.finish() } }
    let progress = ProgressLine("encode", total: input.count, unit: "images", options: common)
    let batch = batchSize(input.shape)
    var unusable = UnusableRows("have no finite latents")
    var inexact = UnusableRows("don't come back from their latents")
    var unlike: [Advice] = []
    let figures = prior.model.figures
    // Images on another scale are unlike all others, but that is told.
    let isJudged =
      figures.bitsLimit != nil && !images.raw && !prior.dequantization.isNone && !reading.contains("range")
    var logDet: [Double] = []
    while logDet.count < input.count, !Interrupt.requested {
      let start = logDet.count
      let range = start..<min(start + batch, input.count)
      let x: Tensor<Scalar> = try images.read(input, range, dequantization: prior.dequantization)
      var (latents, determinants) = try flow.encode(x)
      let finite = Set(latents.finiteRows)
      let notFinite = (0..<range.count).filter { !finite.contains($0) }
      let lost = try flow.rowsThatDontComeBack(images: x, latents: latents).filter(finite.contains)
      func name(_ k: Int) -> String { input.images.name(of: input.indices[start + k]) }
      unusable.add(notFinite.map(name))
      inexact.add(lost.map(name))
      latents.fill(rows: notFinite, with: .nan)
      if isJudged {
        unlike += try ExpectedBits.measure(
          flow, x, indices: Array(input.indices[range]), dequantization: prior.dequantization, draws: 1,
          seed: common.seed
        ).enumerated().compactMap { figures.advice(bitsPerDim: $1.bitsPerDim, of: name($0)) }
      }
      try sink.append(latents)
      logDet += determinants
      progress.update(Double(logDet.count))
    }
    try sink.finish()
    progress.finish()
    let advices = common.warn(
      about: [unusable, inexact], of: logDet.count, and: unlike, after: reading)
    try common.printRows(
      "latents of \(logDet.count) images in \(out.path)", out: out, logDet: logDet, advices,
      model: prior.source)
    return Interrupt.status ?? (unusable.isEmpty ? .done : .noResult)
  }
}
