import AIPO
import AIPOBenchmarks
import ArgumentParser

/// `aipo bench patches`: evaluations of a prior of patches.
struct BenchPatches: ScalarVerb {
  static let configuration = CommandConfiguration(
    commandName: "patches",
    abstract: "Measure evaluations of a prior of patches.",
    discussion: """
      The value and gradient of a picture under a flow of patches with dense nets
      of two hidden layers, behind a whitening, as `train --patch` makes it. It is
      measured --repeat times in turn with the BLAS library's product of 1024×1024
      matrices on as many threads; medians are told. The share is the speed of the
      nets' products over the best product's.

      Example:
        aipo bench patches --patch 8 --stride 4 --size 512 --hidden 256 --threads 2
      """)

  @Option(parsing: .unconditional, help: ArgumentHelp("Height and width of a patch.", valueName: "n"))
  var patch = 8

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Pixels from one patch to the next. (default: half a patch)", valueName: "n"))
  var stride: Int?

  @Option(parsing: .unconditional, help: ArgumentHelp("Couplings of the flow.", valueName: "n"))
  var couplings = 8

  @Option(parsing: .unconditional, help: ArgumentHelp("Width of the hidden layers.", valueName: "n"))
  var hidden = 256

  @Option(parsing: .unconditional, help: ArgumentHelp("Height and width of the picture.", valueName: "n"))
  var size = 512

  @Option(parsing: .unconditional, help: ArgumentHelp("Channels of the picture.", valueName: "n"))
  var channels = 1

  @Option(
    name: .customLong("repeat"), parsing: .unconditional, help: ArgumentHelp("Measures.", valueName: "n"))
  var repeats = 5

  @OptionGroup var common: CommonOptions

  private var steps: Int { stride ?? max(1, patch / 2) }

  func validate() throws {
    for (flag, value, range) in [
      ("--patch", patch, 2...64), ("--stride", steps, 1...patch), ("--couplings", couplings, 1...256),
      ("--hidden", hidden, 1...8192), ("--size", size, 1...16384), ("--channels", channels, 1...4),
      ("--repeat", repeats, 1...1000),
    ] { try require(flag, value, in: range) }
    guard patch * patch * channels <= ImageStatistics.fullLimit else {
      throw ValidationError(
        "--patch \(patch): a patch has \(patch * patch * channels) values, expected "
          + "\(ImageStatistics.fullLimit) at most")
    }
  }

  func perform<Scalar: KernelScalar>(in _: Scalar.Type) throws -> ExitStatus {
    try common.requireMemory()
    func square(_ side: Int) -> ImageShape { ImageShape(height: side, width: side, channels: channels) }
    let figures = try PatchFigures.measure(
      Scalar.self,
      spec: .dense(couplings: couplings, hidden: [hidden, hidden]).conditioned(whitening: .dense),
      patch: square(patch), stride: steps, image: square(size), repeats: repeats, threads: common.threadCount,
      seed: common.seed, isCancelled: { Interrupt.requested })
    if let status = Interrupt.status { return status }
    try common.print(
      """
      patches of \(square(patch)), one every \(steps) pixels of \(square(size)); \(couplings) couplings of two hidden \
      layers of \(hidden), \(common.precision.rawValue)
      \(common.threadCount) threads, kernels \(AIPOVersion.kernels), BLAS \(BLASLibrary.description)
      \(figures.text)
      """)
    try common.printJSON(
      figures.json.adding([
        "threads": .int(common.threadCount), "precision": .string(common.precision.rawValue),
        "patch": .int(patch), "stride": .int(steps), "couplings": .int(couplings), "hidden": .int(hidden),
        "size": .int(size), "channels": .int(channels), "repeat": .int(repeats),
        "blas": .string(BLASLibrary.description),
      ]).adding(TypedCommand.provenance))
    return .done
  }
}
