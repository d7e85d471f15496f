import AIPO
import ArgumentParser

/// `aipo density`: a picture of a density of two variables.
struct Density: ScalarVerb {
  static let configuration = CommandConfiguration(
    abstract: "Draw the log-density of a model of two variables.",
    discussion: """
      For models of vectors of two values: log p(x) in colours, the first value to
      the right and the second upwards, with draws of the model on it.

      Example:
        aipo density --model moons/model.safetensors --out moons.png
        aipo density --model moons/model.safetensors --range=-2:3,-1.5:2 \\
          --out moons.png
      """)

  @OptionGroup var flags: DensityPictureOptions

  @Option(help: ArgumentHelp("The picture, a .png.", valueName: "file"), completion: .file())
  var out: OutputPath

  @OptionGroup var model: ModelOptions
  @OptionGroup var common: CommonOptions

  func validate() throws {
    _ = try usage(flags.settings)
    try out.require([.png])
  }

  func outputs() -> [String?] { [out.path] }

  func perform<Scalar: KernelScalar>(in _: Scalar.Type) throws -> ExitStatus {
    let model = try common.load(model, as: Scalar.self)
    let picture = try flags.settings()
    let density = try PlaneDensity(model, picture, seed: common.seed, isCancelled: { Interrupt.requested })
    guard let density else { return Interrupt.status ?? .interrupted }
    try density.picture(depth: picture.depth).write(to: out.path)
    try common.tell(
      "log-density over \(density.range) in \(out.path), at most \(fixed(density.highest, 3)) nats",
      (["out": .string(out.path)] as JSONValue).adding(density.json), by: model.source)
    return .done
  }
}

struct DensityPictureOptions: SettingFlags {
  typealias Settings = PlaneDensity.Settings

  @Option(parsing: .unconditional, help: .key("range", of: Settings.self)) var range: String?
  @Option(parsing: .unconditional, help: .key("pixels", of: Settings.self)) var pixels: String?
  @Option(parsing: .unconditional, help: .key("count", of: Settings.self)) var count: String?
  @Option(parsing: .unconditional, help: .key("depth", of: Settings.self)) var depth: String?
}
