import AIPO
import AIPOBenchmarks
import ArgumentParser

/// `aipo bench kernels`: each kernel by itself.
struct BenchKernels: ScalarVerb {
  static let configuration = CommandConfiguration(
    commandName: "kernels",
    abstract: "Measure each kernel and compare it with the reference.",
    discussion: """
      A line a kernel and shape, on one thread: its speed, the share of the
      peak, and the largest difference from the reference variant's result over
      the largest number in it. The peak of convolutions is the BLAS library's
      best product of 1024×1024 matrices; that of the others, which do little
      but move memory, a copy of as many bytes. FAIL where the difference is
      more than rounding explains; the exit code is then 70. The environment
      variable AIPO_KERNELS chooses the variant.

      Examples:
        aipo bench kernels
        AIPO_KERNELS=portable aipo bench kernels --filter conv3 --json
      """)

  @Option(help: ArgumentHelp("Only kernels whose name contains this. (default: all)", valueName: "text"))
  var filter: String?

  @Option(
    name: .customLong("repeat"), parsing: .unconditional,
    help: ArgumentHelp("Measures of each kernel; the median is told.", valueName: "n"))
  var repeats = 15

  @OptionGroup var common: CommonOptions

  func validate() throws {
    try require(("repeat", repeats, 1...1000))
  }

  func perform<Scalar: KernelScalar>(in _: Scalar.Type) throws -> ExitStatus {
    let cases = KernelCase<Scalar>.all.filter { item in
      filter.map { item.kernel.contains($0) } ?? true
    }
    guard !cases.isEmpty else {
      throw CommandFailure(.usage, "--filter '\(filter ?? "")' matches no kernel")
    }
    let benchmark = try KernelBenchmark<Scalar>(repeats: repeats)
    try common.observing("bench", total: cases.count, unit: "kernels") { observer in
      try benchmark.measure(cases, observer: observer)
    }
    if let status = Interrupt.status { return status }
    try common.tell(benchmark.text, benchmark.json.adding(["command": .string(TypedCommand.text)]))
    let failures = benchmark.lines.count { !$0.passes }
    guard failures == 0 else {
      throw CommandFailure(.failure, "\(failures) of \(cases.count) kernels differ from the reference")
    }
    return .done
  }
}
