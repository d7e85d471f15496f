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
    let (text, json) = (try Self.text(model, source), try Self.json(model, source))
    try common.print(text)
    try common.printJSON(json)
    return .done
  }

  private static func text(_ model: FlowModel, _ source: ModelSource) throws -> String {
    var rows: [(String, String)] = [("model", source.path)]
    func add(_ name: String, _ value: String) { if !value.isEmpty { rows.append((name, value)) } }
    add("name", model.name)
    if model.imageShape.isVector {
      add("vectors", "\(model.imageShape.channels) values, as images of \(model.imageShape)")
    } else {
      add(
        "images",
        "\(model.imageShape), trained on these; accepts \(model.acceptedSizes)"
      )
    }
    add("layers", "\(try model.spec.flattened().count)")
    add("base", model.spec.base.rawValue)
    if let condition = model.spec.condition {
      add(
        "noise levels",
        "s from \(condition.least) to \(condition.greatest), as deviations of pixels on [0, 1]")
    }
    add("parameters", "\(model.parameterCount) (\(model.dtypeName))")
    add(
      "dequantisation",
      model.dequantization.isNone
        ? "none: values are real numbers" : "\(model.dequantization.bits) bits, uniform")
    add("images' statistics", statistics(model))
    if let steps = model.figures.steps { add("steps", "\(steps)") }
    if let images = model.figures.trainingImages { add("training images", "\(images)") }
    if let value = model.figures.validation { add("validation", figure(value)) }
    if let value = model.figures.test { add("test", figure(value)) }
    if let bits = model.figures.trainingBits { add("their bits/dim", text(bits)) }
    if let bits = model.figures.validationBits { add("bits/dim, kept back", text(bits)) }
    add("provenance", model.provenance)
    add("licence", model.licence)
    add("checksum", "sha256 \(source.checksum)")
    let width = rows.map(\.0.count).max() ?? 0
    var lines = rows.map { $0 + String(repeating: " ", count: width + 2 - $0.count) + $1 }
    if !model.recipe.isEmpty {
      lines.append("recipe")
      lines += model.recipe.split(separator: "\n").map { "  " + $0 }
    }
    return lines.joined(separator: "\n")
  }

  /// Bits/dim with its standard error, where there is one.
  static func figure(_ value: Evaluation) -> String {
    let error = value.standardError.map { " ± \(fixed($0, 4))" } ?? ""
    return "\(fixed(value.bitsPerDim, 4))\(error) bits/dim on \(counted(value.images, "image"))"
  }

  private static func statistics(_ model: FlowModel) -> String {
    switch model.statistics?.covariance {
    case nil: "none"
    case .full: "mean and full covariance"
    case .stationary(let lags):
      "means of channels and stationary covariance, of pixels up to \(lags.lagY) by \(lags.lagX) apart"
    }
  }

  private static func json(_ model: FlowModel, _ source: ModelSource) throws -> JSONValue {
    let shape = model.imageShape
    return .object([
      ("model", .string(source.path)), ("name", .string(model.name)),
      ("checksum", .string(source.checksum)),
      (
        "imageShape",
        .object([
          ("height", .int(shape.height)), ("width", .int(shape.width)), ("channels", .int(shape.channels)),
        ])
      ),
      ("acceptedSizes", .string(model.acceptedSizes)),
      ("architecture", try .encoding(model.spec)), ("layers", .int(try model.spec.flattened().count)),
      ("base", .string(model.spec.base.rawValue)),
      ("condition", try model.spec.condition.map { try .encoding($0) } ?? .null),
      ("parameters", .int(model.parameterCount)),
      ("dtype", .string(model.dtypeName)),
      ("dequantization", .object([("bits", .int(model.dequantization.bits))])),
      ("statistics", .string(statistics(model))), ("recipe", .string(model.recipe)),
      ("figures", .object(figures(model.figures))), ("provenance", .string(model.provenance)),
      ("licence", .string(model.licence)), ("version", .string(ProgramVersion.number)),
      ("kernels", .string(ProgramVersion.kernels)),
    ])
  }

  static func text(_ value: BitsDistribution) -> String {
    "median \(fixed(value[0.5], 2)), from \(fixed(value[0], 2)) to \(fixed(value[1], 2)), rarely above "
      + "\(fixed(value.limit, 2)) (\(counted(value.images, "image")) measured)"
  }

  private static func members(_ value: BitsDistribution?) -> JSONValue {
    guard let value else { return .null }
    return .object([
      ("images", .int(value.images)), ("levels", .array(BitsDistribution.levels.map { .number($0) })),
      ("bitsPerDim", .array(value.quantiles.map { .number($0) })),
    ])
  }

  static func members(_ value: Evaluation) -> [(String, JSONValue)] {
    [
      ("bitsPerDim", .number(value.bitsPerDim)), ("standardError", .optional(value.standardError)),
      ("images", .int(value.images)),
    ]
  }

  /// The figures of a model, nothing left out.
  static func figures(_ figures: ModelFigures) -> [(String, JSONValue)] {
    func count(_ value: Int?) -> JSONValue { value.map { .int($0) } ?? .null }
    func evaluation(_ value: Evaluation?) -> JSONValue {
      guard let value else { return .null }
      return .object(members(value))
    }
    return [
      ("steps", count(figures.steps)), ("imagesSeen", count(figures.imagesSeen)),
      ("rollbacks", count(figures.rollbacks)), ("trainingImages", count(figures.trainingImages)),
      ("validation", evaluation(figures.validation)), ("test", evaluation(figures.test)),
      ("trainingBits", members(figures.trainingBits)), ("validationBits", members(figures.validationBits)),
    ]
  }
}
