import AIPOKernels
import AIPOTasks

extension KernelBenchmark {
  private var precision: Precision { Precision(Scalar.self) }

  /// A line a kernel, for people.
  package var text: String {
    var table = TextTable(["kernel", "shape", "speed", "", "of peak", "residual", ""])
    for line in lines {
      table.add([
        line.kernel, line.shape, fixed(line.speed, 1), line.intensity == nil ? "GB/s" : "GFLOP/s",
        fixed(100 * share(line), 1) + " %", scientific(line.residual), line.passes ? "PASS" : "FAIL",
      ])
    }
    return """
      kernels \(AIPOVersion.kernels), BLAS \(BLASLibrary.description), 1 thread, \(precision.rawValue)
      \(table.text)
      peak: \(fixed(peakGflops, 1)) GFLOP/s, the BLAS's best product of 1024×1024 matrices; \
      a copy: \(fixed(memorySpeed, 1)) GB/s in memory, \(fixed(cacheSpeed, 1)) in cache
      """
  }

  package var json: JSONValue {
    let lines = lines.map { line -> JSONValue in
      [
        "kernel": .string(line.kernel), "shape": .string(line.shape),
        "gflops": line.intensity == nil ? .null : .number(line.speed),
        "gbs": line.intensity == nil ? .number(line.speed) : .null, "intensity": .optional(line.intensity),
        "share": .number(share(line)), "residual": .number(line.residual),
        "tolerance": .number(line.tolerance), "pass": .bool(line.passes),
      ]
    }
    return [
      "kernels": .array(lines), "sgemm_gflops": .number(peakGflops), "memory_gbs": .number(memorySpeed),
      "cache_gbs": .number(cacheSpeed), "pass": .bool(self.lines.allSatisfy(\.passes)),
      "precision": .string(precision.rawValue), "repeat": .int(repeats),
      "blas": .string(BLASLibrary.description), "version": .string(AIPOVersion.number),
      "variant": .string(AIPOVersion.kernels),
    ]
  }
}
