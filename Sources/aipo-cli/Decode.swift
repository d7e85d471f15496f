import AIPO
import ArgumentParser

/// `aipo decode`: images of latents.
struct Decode: Verb {
  static let configuration = CommandConfiguration(
    abstract: "Turn latents into images.",
    discussion: """
      The inverse of encode: a latent of zeros gives the image in the middle of the
      base density, random ones give draws. A latent without a finite image is named
      and costs the others nothing: its row of an NPY is NaN, a PNG leaves it out,
      and the exit code is 75. Latents of images of another size than the
      training's need --size.

      Example:
        aipo decode latents.npy --out images.npy
      """)

  @Argument(help: "Latents, an NPY of shape [n, d] or [d].", completion: .file(extensions: ["npy"]))
  var input: String

  @Option(
    help: ArgumentHelp(
      "Where to write the images: .npy or .npz (unclipped) or .png (clipped, a grid where several).",
      valueName: "file"))
  var out: OutputPath

  @Option(
    help: ArgumentHelp("Height and width of the images. (default: those of the training)", valueName: "HxW"))
  var size: PixelSize?

  @OptionGroup var model: ModelOptions
  @OptionGroup var common: CommonOptions

  func validate() throws { try out.requireImageSuffix("--out") }

  func perform() throws -> ExitStatus {
    try OutputPath.checkWritable([out])
    Interrupt.install()
    return switch common.precision {
    case .float32: try decode(Float.self)
    case .float64: try decode(Double.self)
    }
  }

  private func decode<Scalar: KernelScalar>(_: Scalar.Type) throws -> ExitStatus {
    let prior = try Prior<Scalar>(options: model, common: common)
    let flow = try prior.flow(for: size)
    let d = flow.dimension
    var latents = try ArrayFile.read(input, as: Scalar.self)
    let found = latents.shape
    if found.count == 1 { latents = latents.reshaped([1, found[0]]) }
    guard latents.shape.count == 2, latents.shape[0] > 0, latents.shape[1] == d else {
      throw CommandFailure(
        .badData,
        "\(input): the latents have shape \(found), expected [n, \(d)] or [\(d)] for images of "
          + "\(flow.imageShape)" + (size == nil ? "; --size HxW gives another size" : ""))
    }
    let sink = try RowSink<Scalar>(images: out, shape: flow.imageShape)
    Interrupt.whenOverdue { [weak sink] isUrgent in if !isUrgent { try? sink?.finish() } }
    let total = latents.shape[0]
    let progress = ProgressLine("decode", total: total, unit: "images", options: common)
    let batch = batchSize(flow.imageShape)
    var unusable = UnusableRows("have no finite image")
    var logDet: [Double] = []
    while logDet.count < total, !Interrupt.requested {
      let start = logDet.count
      var (images, determinants) = try flow.decode(
        try latents.rows(start..<min(start + batch, total)))
      let finite = images.finiteRows
      let notFinite = Set(determinants.indices).subtracting(finite).sorted()
      unusable.add(notFinite.map { "\(input)#\(start + $0)" })
      images.fill(rows: notFinite, with: .nan)
      try sink.append(ImageOutputFormat(path: out.path) == .png ? images.rows(finite) : images)
      logDet += determinants
      progress.update(Double(logDet.count))
    }
    try sink.finish()
    progress.finish()
    let advices = common.warn(about: [unusable], of: logDet.count)
    try common.printRows(
      "\(logDet.count - unusable.names.count) images in \(out.path)", out: out, logDet: logDet, advices,
      model: prior.source)
    return Interrupt.status ?? (unusable.isEmpty ? .done : .noResult)
  }
}
