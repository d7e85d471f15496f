import AIPO
import ArgumentParser

/// `aipo bench kernels`: each kernel by itself.
struct BenchKernels: Verb {
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
    guard (1...1000).contains(repeats) else {
      throw ValidationError("--repeat is \(repeats), expected 1 to 1000")
    }
  }

  func perform() throws -> ExitStatus {
    try WorkingMemory.require(common, threads: 1)
    Interrupt.install()
    return switch common.precision {
    case .float32: try measure(Float.self)
    case .float64: try measure(Double.self)
    }
  }

  private func measure<Scalar: KernelScalar>(_: Scalar.Type) throws -> ExitStatus {
    let cases = (KernelCase<Scalar>.convolutions + KernelCase<Scalar>.elementwise).filter { item in
      filter.map { item.kernel.contains($0) } ?? true
    }
    guard !cases.isEmpty else {
      throw CommandFailure(.usage, "--filter '\(filter ?? "")' matches no kernel")
    }
    let benchmark = try KernelBenchmark<Scalar>(repeats: repeats)
    let progress = ProgressLine("bench", total: cases.count, unit: "kernels", options: common)
    for item in cases {
      if let status = Interrupt.status { return status }
      try benchmark.measure(item)
      progress.update(Double(benchmark.lines.count))
    }
    progress.finish()
    try common.print(text(benchmark))
    try common.printJSON(json(benchmark))
    let failures = benchmark.lines.count { !$0.passes }
    guard failures == 0 else {
      throw CommandFailure(.failure, "\(failures) of \(cases.count) kernels differ from the reference")
    }
    return .done
  }

  private func text<Scalar>(_ benchmark: KernelBenchmark<Scalar>) -> String {
    var table = TextTable(["kernel", "shape", "speed", "", "of peak", "residual", ""])
    for line in benchmark.lines {
      table.add([
        line.kernel, line.shape, fixed(line.speed, 1), line.intensity == nil ? "GB/s" : "GFLOP/s",
        fixed(100 * benchmark.share(line), 1) + " %", scientific(line.residual),
        line.passes ? "PASS" : "FAIL",
      ])
    }
    return """
      kernels \(ProgramVersion.kernels), BLAS \(BLASLibrary.description), 1 thread, \
      \(common.precision.rawValue)
      \(table.text)
      peak: \(fixed(benchmark.peakGflops, 1)) GFLOP/s, the BLAS's best product of 1024×1024 matrices; \
      a copy: \(fixed(benchmark.memorySpeed, 1)) GB/s in memory, \(fixed(benchmark.cacheSpeed, 1)) in cache
      """
  }

  private func json<Scalar>(_ benchmark: KernelBenchmark<Scalar>) -> JSONValue {
    .object([
      (
        "kernels",
        .array(
          benchmark.lines.map { line in
            .object([
              ("kernel", .string(line.kernel)), ("shape", .string(line.shape)),
              ("gflops", line.intensity == nil ? .null : .number(line.speed)),
              ("gbs", line.intensity == nil ? .number(line.speed) : .null),
              ("intensity", .optional(line.intensity)),
              ("share", .number(benchmark.share(line))), ("residual", .number(line.residual)),
              ("tolerance", .number(line.tolerance)), ("pass", .bool(line.passes)),
            ])
          })
      ), ("sgemm_gflops", .number(benchmark.peakGflops)), ("memory_gbs", .number(benchmark.memorySpeed)),
      ("cache_gbs", .number(benchmark.cacheSpeed)),
      ("pass", .bool(benchmark.lines.allSatisfy(\.passes))),
      ("precision", .string(common.precision.rawValue)), ("repeat", .int(repeats)),
      ("blas", .string(BLASLibrary.description)), ("version", .string(ProgramVersion.number)),
      ("variant", .string(ProgramVersion.kernels)), ("command", .string(Provenance.command)),
    ])
  }
}
