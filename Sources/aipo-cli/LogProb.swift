import AIPO
import ArgumentParser

/// `aipo logprob`: log-densities of images.
struct LogProb: ScalarVerb {
  static let configuration = CommandConfiguration(
    commandName: "logprob",
    abstract: "Give the log-density of images, and their bits/dim.",
    discussion: """
      log p(x) in nats with x on [0, 1]: of 8-bit images at the middle of the bin
      that each pixel is in, of floats at the floats themselves.

      bits/dim is the expectation of −log₂ p(x)/d + the bits of the dequantisation,
      with x uniform in the bins: the figure of `aipo info` and of the literature.
      It is the same whatever the file's type, because only the bins count. It is
      the mean of --draws draws; ± is its standard error, for the mean of all images
      the standard error over them. The value at the point where log p(x) is taken
      is bitsPerDimAtPoint in the JSON. With --raw, or under a model of real numbers,
      nothing is drawn and bits/dim is the value at the point.

      An image without a finite log-density is named and costs the others nothing;
      the exit code is then 75.

      Example:
        aipo logprob images.npy --json
      """)

  @OptionGroup var images: InputImageOptions
  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Draws of an image's noise that bits/dim is the mean of.", valueName: "n"))
  var draws = ExpectedBits.usualDraws

  @OptionGroup var model: ModelOptions
  @OptionGroup var common: CommonOptions

  func validate() throws {
    try require(("draws", draws, 1...10_000))
  }

  func perform<Scalar: KernelScalar>(in _: Scalar.Type) throws -> ExitStatus {
    let model = try common.load(model, as: Scalar.self)
    var (input, advices) = try images.open(for: model, common: common)
    let rows = try common.observing("logprob", total: input.count, unit: "images") { observer in
      try model.logProb(input, raw: images.raw, draws: draws, seed: common.seed, observer: observer)
    }
    // Images on another scale are unlike all others, but that is told.
    let judges = !images.raw && !advices.contains("range")
    common.warn(advices.add(model.advices(on: rows, judges: judges)))
    let table = LikelihoodTable(rows, draws: model.drawsBits(raw: images.raw) ? draws : 0)
    try common.tell(
      table.text, table.json.adding(["warnings": .warnings(advices)]), by: model.source)
    return Interrupt.status ?? (rows.allSatisfy(\.isFinite) ? .done : .noResult)
  }
}
