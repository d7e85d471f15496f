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

  @OptionGroup var flags: PatchBenchmarkOptions
  @OptionGroup var common: CommonOptions

  func validate() throws { try usage { try flags.settings().check() } }

  func perform<Scalar: KernelScalar>(in _: Scalar.Type) throws -> ExitStatus {
    let figures = try flags.settings().measure(Scalar.self, threads: common.threadCount, seed: common.seed) {
      Interrupt.requested
    }
    if let status = Interrupt.status { return status }
    try common.tell(figures.text, figures.json.adding(TypedCommand.provenance))
    return .done
  }
}

struct PatchBenchmarkOptions: SettingFlags {
  typealias Settings = PatchBenchmarkSettings

  @Option(parsing: .unconditional, help: .key("patch", of: Settings.self)) var patch: String?
  @Option(parsing: .unconditional, help: .key("stride", of: Settings.self)) var stride: String?
  @Option(parsing: .unconditional, help: .key("couplings", of: Settings.self)) var couplings: String?
  @Option(parsing: .unconditional, help: .key("hidden", of: Settings.self)) var hidden: String?
  @Option(parsing: .unconditional, help: .key("size", of: Settings.self)) var size: String?
  @Option(parsing: .unconditional, help: .key("channels", of: Settings.self)) var channels: String?
  @Option(parsing: .unconditional, help: .key("repeat", of: Settings.self)) var `repeat`: String?
}
