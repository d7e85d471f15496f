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

  @OptionGroup var flags: FlowBenchmarkOptions
  @OptionGroup var common: CommonOptions

  func validate() throws { try usage { try flags.settings().check() } }

  func perform<Scalar: KernelScalar>(in _: Scalar.Type) throws -> ExitStatus {
    let figures = try flags.settings().measure(Scalar.self, threads: common.threadCount, seed: common.seed) {
      Interrupt.requested
    }
    if let status = Interrupt.status { return status }
    try common.tell(figures.text, figures.json.adding(TypedCommand.provenance))
    return .done
  }
}

struct FlowBenchmarkOptions: SettingFlags {
  typealias Settings = FlowBenchmarkSettings

  @Option(parsing: .unconditional, help: .key("levels", of: Settings.self)) var levels: String?
  @Option(parsing: .unconditional, help: .key("steps", of: Settings.self)) var steps: String?
  @Option(parsing: .unconditional, help: .key("hidden", of: Settings.self)) var hidden: String?
  @Option(parsing: .unconditional, help: .key("size", of: Settings.self)) var size: String?
  @Option(parsing: .unconditional, help: .key("channels", of: Settings.self)) var channels: String?
  @Option(parsing: .unconditional, help: .key("batch", of: Settings.self)) var batch: String?
  @Option(parsing: .unconditional, help: .key("repeat", of: Settings.self)) var `repeat`: String?
  @Option(help: .key("passes", of: Settings.self)) var passes: String?
}
