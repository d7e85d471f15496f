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

  func validate() throws { try require("--repeat", repeats, in: 1...1000) }

  func perform() throws -> ExitStatus {
    try common.requireMemory()
    Interrupt.install()
    let map = try sized.map(seed: common.seed)
    let figures = try OperatorFigures.measure(
      map, repeats: repeats, threads: common.threadCount, seed: common.seed,
      isCancelled: { Interrupt.requested })
    if let status = Interrupt.status { return status }
    try common.print("\(map.input) to \(map.output), \(common.threadCount) threads\n\(figures.text)")
    try common.printJSON(
      figures.json.adding([
        "input": map.input.json, "output": map.output.json, "threads": .int(common.threadCount),
        "repeat": .int(repeats),
      ]).adding(TypedCommand.provenance))
    return .done
  }
}
