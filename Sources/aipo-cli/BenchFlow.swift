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

  private func settings() throws -> FlowBenchmarkSettings {
    var settings = FlowBenchmarkSettings()
    (settings.levels, settings.steps, settings.hidden) = (levels, steps, hidden)
    (settings.size, settings.channels, settings.batch) = (size, channels, batch)
    settings.repeats = repeats
    try settings.choosePasses(passes)
    try settings.check()
    return settings
  }

  func validate() throws { _ = try usage(settings) }

  func perform<Scalar: KernelScalar>(in _: Scalar.Type) throws -> ExitStatus {
    let figures = try settings().measure(Scalar.self, threads: common.threadCount, seed: common.seed) {
      Interrupt.requested
    }
    if let status = Interrupt.status { return status }
    try common.tell(figures.text, figures.json.adding(TypedCommand.provenance))
    return .done
  }
}
