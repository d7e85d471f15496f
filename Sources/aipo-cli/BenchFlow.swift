import AIPO
import AIPOBenchmarks
import ArgumentParser

/// `aipo bench flow`: the passes of a Glow.
struct BenchFlow: ScalarVerb {
  static let configuration = CommandConfiguration(
    commandName: "flow",
    abstract: "Measure the passes of a Glow.",
    discussion: """
      Forward and inverse, the gradient in z of ½‖x‖² + log-det through the
      inverse, the gradient in x of the log-density, and a training step
      (likelihood, all parameter gradients, Adam). Each is measured --repeat
      times in turn with the BLAS library's product of 1024×1024 matrices on
      as many threads; medians are told. A share is the speed of the flow's
      convolutions over the best product's; a gradient counts as two passes, a
      training step as three.

      Example:
        aipo bench flow --levels 4 --steps 8 --hidden 256 --size 64 \\
          --channels 3 --batch 8 --threads 2 --json
        aipo bench flow --size 1024 --batch 1 --passes pixel-gradient --repeat 1
      """)

  @Option(parsing: .unconditional, help: ArgumentHelp("Levels of the flow.", valueName: "n"))
  var levels = 3

  @Option(parsing: .unconditional, help: ArgumentHelp("Steps a level.", valueName: "n"))
  var steps = 8

  @Option(parsing: .unconditional, help: ArgumentHelp("Channels of the hidden layers.", valueName: "n"))
  var hidden = 128

  @Option(parsing: .unconditional, help: ArgumentHelp("Height and width of the images.", valueName: "n"))
  var size = 32

  @Option(parsing: .unconditional, help: ArgumentHelp("Channels of the images.", valueName: "n"))
  var channels = 1

  @Option(parsing: .unconditional, help: ArgumentHelp("Images in the batch.", valueName: "n"))
  var batch = 8

  @Option(
    name: .customLong("repeat"), parsing: .unconditional,
    help: ArgumentHelp("Measures of each pass.", valueName: "n"))
  var repeats = 5

  @Option(
    help: ArgumentHelp(
      "Which passes: any of \(FlowFigures.Pass.allCases.map(\.flag).joined(separator: ", ")). (default: all)",
      valueName: "list"))
  var passes: String?

  @OptionGroup var common: CommonOptions

  private func chosenPasses() throws -> [FlowFigures.Pass] {
    guard let passes else { return FlowFigures.Pass.allCases }
    let names = passes.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
    for name in names where !FlowFigures.Pass.allCases.contains(where: { $0.flag == name }) {
      throw ValidationError(
        "--passes has \(name.isEmpty ? "an empty name" : name), expected any of "
          + FlowFigures.Pass.allCases.map(\.flag).joined(separator: ", "))
    }
    return FlowFigures.Pass.allCases.filter { names.contains($0.flag) }
  }

  func validate() throws {
    _ = try chosenPasses()
    for (flag, value, range) in [
      ("--levels", levels, 1...12), ("--steps", steps, 1...256), ("--hidden", hidden, 1...8192),
      ("--size", size, 2...4096), ("--channels", channels, 1...1024), ("--batch", batch, 1...4096),
      ("--repeat", repeats, 1...1000),
    ] { try require(flag, value, in: range) }
    do {
      _ = try spec.shapes(from: shape)
    } catch {
      throw ValidationError("--size \(size) and --channels \(channels): \(error)")
    }
  }

  private var spec: FlowSpec { .glow(levels: levels, steps: steps, hidden: hidden) }
  private var shape: ImageShape { ImageShape(height: size, width: size, channels: channels) }

  func perform<Scalar: KernelScalar>(in _: Scalar.Type) throws -> ExitStatus {
    try common.requireMemory()
    let benchmark = try FlowBenchmark<Scalar>(
      spec: spec, shape: shape, batch: batch, threads: common.threadCount, seed: common.seed)
    let figures = try benchmark.run(chosenPasses(), repeats: repeats) { Interrupt.requested }
    if let status = Interrupt.status { return status }
    try common.print(text(figures))
    try common.printJSON(json(figures))
    return .done
  }

  private func text(_ figures: FlowFigures) -> String {
    """
    \(levels) levels of \(steps) steps, \(hidden) hidden channels, \(batch) images of \(shape), \
    \(common.precision.rawValue)
    \(common.threadCount) threads, kernels \(AIPOVersion.kernels), BLAS \(BLASLibrary.description)
    \(figures.text)
    """
  }

  private func json(_ figures: FlowFigures) -> JSONValue {
    figures.json.adding([
      "threads": .int(common.threadCount), "batch": .int(batch),
      "precision": .string(common.precision.rawValue), "repeat": .int(repeats), "levels": .int(levels),
      "steps": .int(steps), "hidden": .int(hidden), "size": .int(size), "channels": .int(channels),
      "blas": .string(BLASLibrary.description),
    ]).adding(TypedCommand.provenance)
  }
}
