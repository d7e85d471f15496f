import AIPOFlows
import AIPOKernels
import AIPOPlatform
import AIPOTasks

/// Which Glow `aipo bench flow` measures, and how.
package struct FlowBenchmarkSettings: KeyedSettings {
  private var levels = 3
  private var steps = 8
  private var hidden = 128
  private var size = 32
  private var channels = 1
  private var batch = 8
  private var repeats = 5
  private var passList: String?

  package init() {}

  package static let keys: [SettingKey<FlowBenchmarkSettings>] = [
    key("levels", "Levels of the flow.", "n", \.levels, .whole(1...12)),
    key("steps", "Steps a level.", "n", \.steps, .whole(1...256)),
    key("hidden", "Channels of the hidden layers.", "n", \.hidden, .whole(1...8192)),
    key("size", "Height and width of the images.", "n", \.size, .whole(2...4096)),
    key("channels", "Channels of the images.", "n", \.channels, .whole(1...1024)),
    key("batch", "Images in the batch.", "n", \.batch, .whole(1...4096)),
    key("repeat", "Measures of each pass.", "n", \.repeats, .whole(1...1000)),
    key("passes", "Which passes: any of \(passNames). (default: all)", "list", \.passList, .text),
  ]

  private static var passNames: String {
    FlowFigures.Pass.allCases.map(\.flag).joined(separator: ", ")
  }

  var spec: FlowSpec { .glow(levels: levels, steps: steps, hidden: hidden) }
  var shape: ImageShape { ImageShape(height: size, width: size, channels: channels) }

  /// The passes that are named, with commas between them. Throws a usage error.
  private func passes() throws(TaskError) -> [FlowFigures.Pass] {
    let all = FlowFigures.Pass.allCases
    guard let names = passList?.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
    else {
      return all
    }
    for name in names where !all.contains(where: { $0.flag == name }) {
      throw TaskError(
        .usage, key: "passes",
        "--passes has \(name.isEmpty ? "an empty name" : name), expected any of \(Self.passNames)")
    }
    return all.filter { names.contains($0.flag) }
  }

  /// Throws a usage error where there is no such pass, or no such Glow takes images of that size.
  package func check() throws(TaskError) {
    _ = try passes()
    do { _ = try spec.shapes(from: shape) } catch {
      throw TaskError(.usage, key: "size", "--size \(size) and --channels \(channels): \(error)")
    }
  }

  /// Measures on so many threads, until `isCancelled`.
  package func measure<Scalar: KernelScalar>(
    _: Scalar.Type, threads: Int, seed: UInt64, isCancelled: () -> Bool
  ) throws -> FlowFigures {
    let benchmark = try FlowBenchmark<Scalar>(
      spec: spec, shape: shape, batch: batch, threads: threads, seed: seed)
    var figures = try benchmark.run(passes(), repeats: repeats, isCancelled: isCancelled)
    let precision = Precision(Scalar.self).rawValue
    figures.head = """
      \(levels) levels of \(steps) steps, \(hidden) hidden channels, \(batch) images of \(shape), \(precision)
      \(BenchmarkMachine.text(threads: threads))

      """
    figures.settings = [
      "threads": .int(threads), "batch": .int(batch), "precision": .string(precision),
      "repeat": .int(repeats), "levels": .int(levels), "steps": .int(steps), "hidden": .int(hidden),
      "size": .int(size), "channels": .int(channels), "blas": .string(BLASLibrary.description),
    ]
    return figures
  }
}

/// The median of seconds; NaN of none.
func medianMilliseconds(_ seconds: [Double]) -> Double {
  let sorted = seconds.sorted()
  return sorted.isEmpty ? .nan : 500 * (sorted[sorted.count / 2] + sorted[(sorted.count - 1) / 2])
}

/// What measures were made on.
enum BenchmarkMachine {
  static func text(threads: Int) -> String {
    "\(threads) threads, kernels \(AIPOVersion.kernels), BLAS \(BLASLibrary.description)"
  }
}

/// What `aipo bench flow` has measured.
package struct FlowFigures {
  package enum Pass: String, CaseIterable {
    case forward
    case inverse
    case latentGradient = "latent_gradient"
    case pixelGradient = "pixel_gradient"
    case trainingStep = "training_step"

    /// As a flag names it.
    package var flag: String { String(rawValue.map { $0 == "_" ? "-" : $0 }) }
    var name: String { String(rawValue.map { $0 == "_" ? " " : $0 }) }

    /// Forward passes that it counts as.
    var passes: Double {
      switch self {
      case .forward, .inverse: 1
      case .latentGradient, .pixelGradient: 2
      case .trainingStep: 3
      }
    }
  }

  /// Seconds of each pass, one a repetition.
  package var seconds: [Pass: [Double]] = [:]
  /// The best product's speed.
  package var peakGflops = 0.0
  /// Work of the convolutions in one forward pass of the batch.
  package var flowGflop = 0.0
  /// The most memory that the process had held when it had made the passes, but for a training step.
  package var peakMegabytes = Double.nan
  /// What it was measured of, in words and as JSON.
  var head = ""
  var settings = JSONValue.null

  func milliseconds(_ pass: Pass) -> Double { medianMilliseconds(seconds[pass] ?? []) }

  func fastest(_ pass: Pass) -> Double { 1000 * (seconds[pass]?.min() ?? .nan) }

  func gflops(_ pass: Pass) -> Double { 1000 * pass.passes * flowGflop / milliseconds(pass) }

  func share(_ pass: Pass) -> Double { gflops(pass) / peakGflops }

  /// A line a pass, and what they are compared with, for people.
  package var text: String {
    var table = TextTable(["pass", "ms", "GFLOP/s", "share of peak"])
    for pass in Pass.allCases where seconds[pass] != nil {
      table.add([
        pass.name, fixed(milliseconds(pass), 2), fixed(gflops(pass), 1), fixed(100 * share(pass), 1) + " %",
      ])
    }
    return """
      \(head)\(table.text)
      peak: \(fixed(peakGflops, 1)) GFLOP/s, the BLAS's best product of 1024×1024 matrices
      work of one pass: \(fixed(flowGflop, 3)) GFLOP; memory without training: \(fixed(peakMegabytes, 0)) MB
      """
  }

  package var json: JSONValue {
    let passes = Pass.allCases
    return JSONValue.object(passes.map { ("\($0.rawValue)_ms", .number(milliseconds($0))) }).adding([
      "flow_gflop": .number(flowGflop), "sgemm_gflops": .number(peakGflops),
      "peak_rss_mb": .number(peakMegabytes),
      "share": .object(passes.map { ($0.rawValue, .number(share($0))) }),
      "fastest_ms": .object(passes.map { ($0.rawValue, .number(fastest($0))) }),
    ]).adding(settings)
  }
}

/// A Glow with random weights, and its passes to be measured.
package final class FlowBenchmark<Scalar: KernelScalar> {
  private let flow: Flow<Scalar>
  private let threads: Int
  private let images: Tensor<Scalar>
  private let latents: Tensor<Scalar>
  private let work: Double
  private var latentGradient: DecodeGradient<Scalar>
  private var training: Training?

  /// What a training step reads and writes.
  private final class Training {
    var current: OptimizerState<Scalar>
    var next: OptimizerState<Scalar>
    var gradient: [Scalar] = []

    init(parameters: [Scalar]) {
      current = OptimizerState(parameters: parameters, isAveraging: false)
      next = current
    }
  }

  /// The nets' weights are drawn from N(0, 0.02²); images are uniform, latents standard normal.
  package init(spec: FlowSpec, shape: ImageShape, batch: Int, threads: Int, seed: UInt64) throws {
    self.threads = threads
    work = 2e-9 * Double(batch) * Double(try spec.multiplyAdds(for: shape))
    flow = try Flow(spec: spec, imageShape: shape, seed: seed, pool: ThreadPool(threads: threads))
    var random = Philox(seed: seed, purpose: .weights)
    for (name, range) in flow.parameterRanges where name.contains(".net.") {
      try flow.setParameters(range.map { _ in Scalar(0.02 * random.normal()) }, of: name)
    }
    images = try Tensor(
      shape: [batch, shape.height, shape.width, shape.channels],
      elements: (0..<batch * shape.count).map { _ in Scalar(random.uniform()) })
    latentGradient = try DecodeGradient()
    latents = try flow.sampleLatents(indices: 0..<batch, temperature: 1, seed: seed)
  }

  /// Measures every pass `repeats` times, in turn with products, until `isCancelled`.
  package func run(_ passes: [FlowFigures.Pass], repeats: Int, isCancelled: () -> Bool) throws -> FlowFigures
  {
    var figures = FlowFigures()
    figures.flowGflop = work
    // A first run of each warms the caches, and tells how often it must run to be measured well.
    var runs: [FlowFigures.Pass: Int] = [:]
    for pass in passes {
      guard !isCancelled() else { return figures }
      var once = try seconds(pass, runs: 1)
      if once < 1 { once = try seconds(pass, runs: 1) }
      if pass != .trainingStep { figures.peakMegabytes = Self.peakMegabytes }
      runs[pass] = max(1, Int((Self.longEnough / once).rounded(.up)))
    }
    let product = try ProductPeak<Scalar>()
    _ = product.seconds(threads: threads)
    for _ in 0..<repeats {
      for pass in passes {
        guard !isCancelled() else { return figures }
        let speed = product.operations / product.seconds(threads: threads) * 1e-9
        figures.peakGflops = max(figures.peakGflops, speed)
        // OpenBLAS's threads keep spinning for a while after a product.
        if threads > 1 { usleep(60_000) }
        let count = runs[pass] ?? 1
        if count > 1 { _ = try seconds(pass, runs: 1) }
        figures.seconds[pass, default: []].append(try seconds(pass, runs: count))
      }
    }
    return figures
  }

  /// Seconds that a measure should take.
  private static var longEnough: Double { 0.03 }

  /// Seconds of one run of a pass, the mean over `runs`.
  private func seconds(_ pass: FlowFigures.Pass, runs: Int) throws -> Double {
    let clock = ContinuousClock()
    let start = clock.now
    for _ in 0..<runs { try make(pass) }
    return (clock.now - start) / .seconds(1) / Double(runs)
  }

  private func make(_ pass: FlowFigures.Pass) throws {
    switch pass {
    case .forward: _ = try flow.encode(images)
    case .inverse: _ = try flow.decode(latents)
    case .latentGradient:
      try flow.decodeWithGradient(latents, &latentGradient) { result, part in
        result.imageCotangent = result.images
        for i in part { result.logDetCotangent[i] = 1 }
      }
    case .pixelGradient: _ = try flow.evaluateWithGradient(images)
    case .trainingStep: try makeTrainingStep()
    }
  }

  private func makeTrainingStep() throws {
    let training = training ?? Training(parameters: flow.parameters)
    self.training = training
    try flow.setParameters(training.current.parameters)
    _ = try flow.trainingGradient(images, gradient: &training.gradient)
    try training.next.advance(
      from: training.current, gradient: training.gradient, scale: 1, rate: 1e-6, averageDecay: 0,
      adam: Adam(), pool: flow.pool)
    swap(&training.current, &training.next)
  }

  /// The most memory that this process has held so far. (`getrusage` would count what its parent held, too.)
  private static var peakMegabytes: Double {
    #if os(Linux)
      let status = (try? InputFile.bytes(path: "/proc/self/status", limit: 1 << 16)) ?? []
      for line in status.split(separator: UInt8(ascii: "\n")) {
        let words = line.split { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\t") }
        if words.count == 3, words[0].elementsEqual("VmHWM:".utf8) {
          return (Double(String(decoding: words[1], as: UTF8.self)) ?? .nan) * 1024e-6
        }
      }
      return .nan
    #else
      var usage = rusage()
      getrusage(RUSAGE_SELF, &usage)
      return Double(usage.ru_maxrss) * 1e-6
    #endif
  }
}
