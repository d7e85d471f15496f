import AIPO
import ArgumentParser

/// `aipo export`: a model as another program's checkpoint.
struct Export: Verb {
  static let configuration = CommandConfiguration(
    abstract: "Write a model as another program loads it.",
    discussion: """
      Writes safetensors with the keys of normflows' MultiscaleFlow or of
      rosinality's glow-pytorch; docs/interchange.md has a loader for each. What
      the dialect can't express is refused by name.

      Example:
        aipo export faces.safetensors --dialect glow-pytorch --out faces-glow.safetensors
      """)

  @Option(help: "The program that is to load it.")
  var dialect: ExportDialect

  @Option(help: ArgumentHelp("Where to write the tensors.", valueName: "file"))
  var out: OutputPath

  @OptionGroup var model: NamedModelOptions
  @OptionGroup var common: CommonOptions

  func outputs() -> [String?] { [out.path] }

  func perform() throws -> ExitStatus {
    let (model, source) = try ModelSource.load(model.path())
    let tensors: Safetensors
    do { tensors = try ModelExport.tensors(of: model, as: dialect.dialect) } catch {
      let failure = CommandFailure(error)
      throw CommandFailure(failure.status, "\(source.path): \(failure.message)")
    }
    try tensors.save(path: out.path)
    let count = tensors.tensors.count
    try common.tell(
      "\(count) tensors for \(dialect.rawValue) in \(out.path)",
      ["out": .string(out.path), "dialect": .string(dialect.rawValue), "tensors": .int(count)], by: source)
    return .done
  }
}

/// The dialects that are written.
enum ExportDialect: String, CaseIterable, ExpressibleByArgument {
  case normflows
  case glowPytorch = "glow-pytorch"

  var dialect: Dialect { self == .normflows ? .normflows : .glowPytorch }
}
