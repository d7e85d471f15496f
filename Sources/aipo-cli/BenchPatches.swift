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

  private func settings() throws -> PatchBenchmarkSettings {
    var settings = PatchBenchmarkSettings()
    (settings.patch, settings.stride, settings.couplings) = (patch, stride, couplings)
    (settings.hidden, settings.size, settings.channels) = (hidden, size, channels)
    settings.repeats = repeats
    try settings.check()
    return settings
  }

  func validate() throws { _ = try usage(settings) }

  func perform<Scalar: KernelScalar>(in _: Scalar.Type) throws -> ExitStatus {
    let figures = try settings().measure(Scalar.self, threads: common.threadCount, seed: common.seed) {
      Interrupt.requested
    }
    if let status = Interrupt.status { return status }
    try common.tell(figures.text, figures.json.adding(TypedCommand.provenance))
    return .done
  }
}
