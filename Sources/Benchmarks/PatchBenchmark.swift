import AIPOFlows
import AIPOKernels
import AIPOPlatform
import AIPOPriors
import AIPOTasks

/// Which prior of patches `aipo bench patches` measures, and how.
package struct PatchBenchmarkSettings: KeyedSettings {
  private var patch = 8
  private var stride: Int?
  private var couplings = 8
  private var hidden = 256
  private var size = 512
  private var channels = 1
  private var repeats = 5

  package init() {}

  package static let keys: [SettingKey<PatchBenchmarkSettings>] = [
    key("patch", "Height and width of a patch.", "n", \.patch, .whole(2...64)),
    key(
      "stride", "Pixels from one patch to the next. (default: half a patch)", "n", \.stride, .whole(1...64)),
    key("couplings", "Couplings of the flow.", "n", \.couplings, .whole(1...256)),
    key("hidden", "Width of the hidden layers.", "n", \.hidden, .whole(1...8192)),
    key("size", "Height and width of the picture.", "n", \.size, .whole(1...16384)),
    key("channels", "Channels of the picture.", "n", \.channels, .whole(1...4)),
    key("repeat", "Measures.", "n", \.repeats, .whole(1...1000)),
  ]

  private var step: Int { stride ?? max(1, patch / 2) }

  /// Throws a usage error where patches leave gaps or are too large.
  package func check() throws(TaskError) {
    try TaskError.require([("stride", step, 1...patch)])
    guard patch * patch * channels <= ImageStatistics.fullLimit else {
      throw TaskError(
        .usage, key: "patch",
        "--patch \(patch): a patch has \(patch * patch * channels) values, expected "
          + "\(ImageStatistics.fullLimit) at most")
    }
  }

  /// Measures on so many threads, until `isCancelled`.
  package func measure<Scalar: KernelScalar>(
    _: Scalar.Type, threads: Int, seed: UInt64, isCancelled: () -> Bool
  ) throws -> PatchFigures {
    func square(_ side: Int) -> ImageShape { ImageShape(height: side, width: side, channels: channels) }
    var figures = try PatchFigures.measure(
      Scalar.self,
      spec: .dense(couplings: couplings, hidden: [hidden, hidden]).conditioned(whitening: .dense),
      patch: square(patch), stride: step, image: square(size), repeats: repeats, threads: threads, seed: seed,
      isCancelled: isCancelled)
    let precision = Precision(Scalar.self).rawValue
    figures.head = """
      patches of \(square(patch)), one every \(step) pixels of \(square(size)); \(couplings) couplings of two hidden \
      layers of \(hidden), \(precision)
      \(BenchmarkMachine.text(threads: threads))

      """
    figures.settings = [
      "threads": .int(threads), "precision": .string(precision), "patch": .int(patch), "stride": .int(step),
      "couplings": .int(couplings), "hidden": .int(hidden), "size": .int(size), "channels": .int(channels),
      "repeat": .int(repeats), "blas": .string(BLASLibrary.description),
    ]
    return figures
  }
}

/// What `aipo bench patches` has measured: evaluations of a prior of patches.
package struct PatchFigures {
  /// Patches of an evaluation.
  package var patches = 0
  /// Seconds of an evaluation with its gradient, one a repetition.
  package var seconds: [Double] = []
  /// Work of the nets in it.
  package var gflop = 0.0
  /// The best product's speed.
  package var peakGflops = 0.0
  /// What it was measured of, in words and as JSON.
  var head = ""
  var settings = JSONValue.null

  private var milliseconds: Double { medianMilliseconds(seconds) }
  var gflops: Double { 1000 * gflop / milliseconds }

  /// For people.
  package var text: String {
    """
    \(head)an evaluation with its gradient: \(fixed(milliseconds, 1)) ms, \(patches) patches
    \(fixed(gflops, 1)) GFLOP/s, \(fixed(100 * gflops / peakGflops, 1)) % of the BLAS's best product of 1024×1024 \
    matrices, \(fixed(peakGflops, 1)) GFLOP/s
    """
  }

  package var json: JSONValue {
    ([
      "patches": .int(patches), "evaluation_ms": .number(milliseconds),
      "fastest_ms": .number(1000 * (seconds.min() ?? .nan)), "gflop": .number(gflop),
      "sgemm_gflops": .number(peakGflops), "share": .number(gflops / peakGflops),
    ] as JSONValue).adding(settings)
  }
}

extension PatchFigures {
  /// Measures a prior with random weights on a uniform image `repeats` times, in turn with products, until `isCancelled`.
  static func measure<Scalar: KernelScalar>(
    _: Scalar.Type, spec: FlowSpec, patch: ImageShape, stride: Int, image: ImageShape, repeats: Int,
    threads: Int,
    seed: UInt64, isCancelled: () -> Bool
  ) throws -> PatchFigures {
    let flow = try Flow<Scalar>(spec: spec, imageShape: patch, seed: seed, pool: ThreadPool(threads: 1))
    var random = Philox(seed: seed, purpose: .weights)
    for (name, range) in flow.parameterRanges where name.hasSuffix("weight") {
      try flow.setParameters(range.map { _ in Scalar(0.02 * random.normal()) }, of: name)
    }
    let prior = try PatchPrior(flow, imageShape: image, stride: stride)
    let scratch = Scratch(pool: ThreadPool(threads: threads))
    let (x, gradient) = (try Tensor<Double>(count: image.count), try Tensor<Double>(count: image.count))
    x.view.setEach { _ in random.uniform() }
    var figures = PatchFigures()
    figures.patches = prior.grid.count
    // There and back.
    figures.gflop = 4e-9 * Double(prior.grid.count) * Double(try spec.multiplyAdds(for: patch))
    let clock = ContinuousClock()
    func evaluate() throws -> Double {
      let start = clock.now
      _ = try prior.evaluate(x.view, gradient: gradient.view, scratch)
      return (clock.now - start) / .seconds(1)
    }
    let product = try ProductPeak<Scalar>()
    _ = try evaluate()
    _ = product.seconds(threads: threads)
    for _ in 0..<repeats where !isCancelled() {
      figures.peakGflops = max(
        figures.peakGflops, 1e-9 * product.operations / product.seconds(threads: threads))
      // OpenBLAS's threads keep spinning for a while after a product.
      if threads > 1 { usleep(60_000) }
      figures.seconds.append(try evaluate())
    }
    return figures
  }
}
