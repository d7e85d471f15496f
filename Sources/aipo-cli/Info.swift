import AIPO
import ArgumentParser

/// `aipo info`: what a model file holds.
struct Info: ParsableCommand, Verb {
  static let configuration = CommandConfiguration(
    abstract: "Tell what a model holds.",
    discussion: """
      Architecture, accepted image sizes, parameters, dequantisation, recipe, figures and checksum.

      Example:
        aipo info Models/fashion-mnist-glow.safetensors --json
      """)

  @Argument(help: "The model; as --model.", completion: .file(extensions: ["safetensors"]))
  var file: String?

  @OptionGroup var model: ModelOptions
  @OptionGroup var common: CommonOptions

  func validate() throws {
    if file != nil, model.model != nil {
      throw ValidationError("the model is named twice, as an argument and by --model")
    }
  }

  func perform() throws -> ExitStatus {
    let path = try ModelLocator.path(named: file ?? model.model)
    try common.print(path)
    return .done
  }
}
