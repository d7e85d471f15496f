import ArgumentParser

/// `aipo bench`: how fast this machine runs the kernels.
struct Bench: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Measure the speed of flows, operators and kernels on this machine.",
    discussion: """
      Speeds are told beside that of the BLAS library's matrix product, measured
      in the same run on as many threads.

      Examples:
        aipo bench flow --levels 3 --steps 8 --hidden 128 --size 32 --channels 1
        aipo bench kernels --filter conv3
      """,
    subcommands: [BenchFlow.self, BenchPatches.self, BenchOperator.self, BenchKernels.self])
}
