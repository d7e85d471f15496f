import AIPO
import ArgumentParser

/// `aipo decode`: images of latents.
struct Decode: ScalarVerb {
  static let configuration = CommandConfiguration(
    abstract: "Turn latents into images.",
    discussion: """
      The inverse of encode: a latent of zeros gives the image in the middle of the
      base density, random ones give draws. A latent without a finite image is named
      and costs the others nothing: its row of an NPY is NaN, pictures leave it out,
      and the exit code is 75. Latents of images of another size than the
      training's need --size.

      Example:
        aipo decode latents.npy --out images.npy
      """)

  @Argument(help: "Latents, an NPY of shape [n, d] or [d].", completion: .file(extensions: ["npy"]))
  var input: String

  @Option(help: .images("Where to write the images"))
  var out: OutputPath

  @OptionGroup var format: DecodedImageOptions
  @OptionGroup var model: ModelOptions
  @OptionGroup var common: CommonOptions

  func validate() throws { try out.require(ImageOutputFormat.allCases) }

  func outputs() -> [String?] { [out.path] }

  func perform<Scalar: KernelScalar>(in _: Scalar.Type) throws -> ExitStatus {
    let model = try common.load(model, as: Scalar.self)
    let sink = try RowSink(
      images: out.path, shape: try model.flow(for: format.size).imageShape, precision: common.precision)
    let latents = try ArrayFile.read(input, as: Scalar.self)
    let total = latents.shape.count == 1 ? 1 : latents.shape.first ?? 0
    // An array can hold what isn't finite.
    let isArray = ImageOutputFormat(path: out.path) == .array
    let rows = try common.writing("decode", total: total, to: sink) { observer in
      try model.decode(latents, name: input, size: format.size, observer: observer) { images, finite in
        try sink.append(isArray ? images : images.rows(finite))
      }
    }
    let count = rows.logDet.count - rows.unusable.names.count
    return try common.finish(
      rows, "\(count) images in \(out.path)", out: out, after: AdviceList(), model.source, as: Scalar.self)
  }
}
