import AIPO
import AIPOFlowTesting
import Benchmark

/// What a change must not slow down: the passes of a flow, the convolutions of its couplings, a reconstruction.
/// All on one thread, so that two runs differ as little as may be.
let benchmarks: @Sendable () -> Void = {
  Benchmark.defaultConfiguration = .init(
    metrics: [.wallClock, .instructions, .peakMemoryResident], warmupIterations: 2, maxDuration: .seconds(2),
    maxIterations: 200,
    thresholds: [
      .wallClock: .init(relative: [.p25: 10, .p50: 10]), .instructions: .init(relative: [.p50: 3]),
    ])
  passBenchmarks()
  convolutionBenchmarks()
  reconstructionBenchmarks()
}

/// A benchmark whose work is made once, when it first runs.
func benchmark<Work: Sendable>(
  _ name: String, make: @escaping @Sendable () throws -> Work,
  run: @escaping @Sendable (Work) throws -> Void
) {
  let cache = Cache<Work>()
  Benchmark(name) { benchmark in
    let work = try cache.value(make)
    benchmark.startMeasurement()
    try run(work)
    benchmark.stopMeasurement()
  }
}

private final class Cache<Work: Sendable>: @unchecked Sendable {
  private let lock = Lock()
  private var work: Work?

  func value(_ make: () throws -> Work) throws -> Work {
    try lock.withLock {
      if let work { return work }
      let made = try make()
      work = made
      return made
    }
  }
}

/// A Glow with random parameters.
func randomGlow(levels: Int, steps: Int, hidden: Int, size: Int, channels: Int) throws -> Flow<Float> {
  let flow = try Flow<Float>(
    spec: .glow(levels: levels, steps: steps, hidden: hidden),
    imageShape: ImageShape(height: size, width: size, channels: channels), pool: ThreadPool(threads: 1))
  try randomizeParameters(of: flow, seed: 1, scale: 0.02)
  return flow
}
