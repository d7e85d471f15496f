import AIPO
import ArgumentParser

/// `aipo import`: another program's checkpoint as a model of ours.
struct Import: Verb {
  static let configuration = CommandConfiguration(
    abstract: "Turn another program's checkpoint into a model.",
    discussion: """
      Reads safetensors and what torch.save writes (the zip, and the stream of
      before torch 1.6) without executing anything in it. Settings that a file
      doesn't hold are taken from --option, else tried on --images, else assumed;
      how each came about is printed and stored in the model.

      Example:
        aipo import glow.pt --images faces.npy --out faces.safetensors

      Options of all dialects:
        state-dict=KEY
            which model, where the file holds several
        size=HxW
            of the images, where the file doesn't tell
        draws=N
            how many draws give the Gaussian where there are no images
      \(Dialect.allCases.map(\.settingsInWords).joined(separator: "\n"))
      """)

  @Argument(help: "The checkpoint: .safetensors, .pt, .pth.", completion: .file())
  var input: String

  @Option(help: "The program that wrote it; auto goes by the names of the tensors.")
  var dialect = DialectChoice.auto

  @Option(help: ArgumentHelp("Where to write the model.", valueName: "file"))
  var out: OutputPath

  @Option(
    name: .customLong("option"),
    help: ArgumentHelp("A setting that the file leaves open; may be repeated.", valueName: "key=value"))
  var options: [String] = []

  @Option(
    help: ArgumentHelp(
      """
      Images as the model was trained on: they settle open options and give the mean and covariance. \
      (default: draws of the model give these)
      """, valueName: "path"))
  var images: String?

  @OptionGroup var reading: ReadingOptions
  @OptionGroup var common: CommonOptions

  func validate() throws { _ = try usage { try ModelImport.options(options) } }

  func outputs() -> [String?] { [out.path] }

  func perform() throws -> ExitStatus {
    let result = try ModelImport(
      path: input, dialect: dialect.dialect, options: ModelImport.options(options), sampling: images,
      reading.reading(),
      seed: common.seed, threads: common.threadCount, advise: common.warn)
    var model = result.model
    try model.save(path: out.path)
    common.warn(result.warnings)
    let summary = ImportSummary(result, model, path: out.path)
    try common.tell(summary.text, summary.json.adding(TypedCommand.provenance))
    return Interrupt.status ?? .done
  }
}

/// A dialect, or the one that the file's names tell.
enum DialectChoice: String, CaseIterable, ExpressibleByArgument {
  case normflows, glowip
  case glowPytorch = "glow-pytorch"
  case auto

  var dialect: Dialect? { Dialect(rawValue: rawValue) }
}
