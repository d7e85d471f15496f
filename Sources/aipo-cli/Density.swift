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

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "What is shown: low:high for both variables, or low:high,low:high. (default: where 99 of 100 draws fall)",
      valueName: "a:b"))
  var range: PlaneRange?

  @Option(
    parsing: .unconditional, help: ArgumentHelp("Height and width of the picture in pixels.", valueName: "n"))
  var pixels = 512

  @Option(parsing: .unconditional, help: ArgumentHelp("Draws to show.", valueName: "n"))
  var count = 500

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Nats below the highest log-density that are shown as black.", valueName: "nats"))
  var depth = 10.0

  @Option(help: ArgumentHelp("The picture, a .png.", valueName: "file"), completion: .file())
  var out: OutputPath

  @OptionGroup var model: ModelOptions
  @OptionGroup var common: CommonOptions

  func validate() throws {
    try require(("pixels", pixels, 16...4096))
    try require(("count", count, 0...1_000_000))
    guard depth > 0, depth.isFinite else {
      throw ValidationError("--depth is \(depth), expected a positive number")
    }
    try out.require([.png])
  }

  var outputs: [OutputPath?] { [out] }

  func perform<Scalar: KernelScalar>(in _: Scalar.Type) throws -> ExitStatus {
    let model = try common.load(model, as: Scalar.self)
    let density = try PlaneDensity(
      model, range: range, pixels: pixels, draws: count, seed: common.seed,
      isCancelled: { Interrupt.requested })
    guard let density else { return Interrupt.status ?? .interrupted }
    try density.picture(depth: depth).write(to: out.path)
    try common.tell(
      "log-density over \(density.range) in \(out.path), at most \(fixed(density.highest, 3)) nats",
      (["out": .string(out.path)] as JSONValue).adding(density.json), by: model.source)
    return .done
  }
}

extension PlaneRange: ExpressibleByArgument {
  public init?(argument: String) { self.init(argument) }
}
