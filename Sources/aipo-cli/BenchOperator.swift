import AIPO
import AIPOBenchmarks
import ArgumentParser

/// `aipo bench operator`: products with the operator of a task.
struct BenchOperator: Verb {
  static let configuration = CommandConfiguration(
    commandName: "operator",
    abstract: "Measure products with an operator.",
    discussion: """
      The flags are those of reconstruct. Times of Ax, Aᵀu and AᵀAx in float64,
      medians and the fastest, caches warm.

      Example:
        aipo bench operator --task ct --angles 180 --size 512x512 --threads 1
      """)

  @OptionGroup var sized: SizedOperator

  @Option(
    name: .customLong("repeat"), parsing: .unconditional, help: ArgumentHelp("Measures.", valueName: "n"))
  var repeats = 5

  @OptionGroup var common: CommonOptions

  func validate() throws { try require(("repeat", repeats, 1...1000)) }

  func perform() throws -> ExitStatus {
    let figures = try OperatorFigures.measure(
      sized.map(common), repeats: repeats, threads: common.threadCount, seed: common.seed,
      isCancelled: { Interrupt.requested })
    if let status = Interrupt.status { return status }
    try common.tell(figures.text, figures.json.adding(TypedCommand.provenance))
    return .done
  }
}
