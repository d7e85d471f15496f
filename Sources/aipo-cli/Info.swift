import AIPO
import ArgumentParser

/// `aipo info`: what a model file holds.
struct Info: Verb {
  static let configuration = CommandConfiguration(
    abstract: "Tell what a model holds.",
    discussion: """
      Architecture, accepted image sizes, parameters, dequantisation, recipe,
      figures and checksum.

      Example:
        aipo info Models/fashion-mnist-glow.safetensors --json
      """)

  @OptionGroup var model: NamedModelOptions
  @OptionGroup var common: CommonOptions

  func perform() throws -> ExitStatus {
    let (model, source) = try ModelSource.load(model.path())
    let summary = ModelSummary(model, source)
    try common.tell(summary.text(), summary.json())
    return .done
  }
}
