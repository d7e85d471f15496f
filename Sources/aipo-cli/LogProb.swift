import AIPO
import ArgumentParser

/// `aipo logprob`: log-densities of images.
struct LogProb: Verb {
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
    guard (1...10_000).contains(draws) else {
      throw ValidationError("--draws is \(draws), expected 1 to 10000")
    }
  }

  func perform() throws -> ExitStatus {
    Interrupt.install()
    return switch common.precision {
    case .float32: try evaluate(Float.self)
    case .float64: try evaluate(Double.self)
    }
  }

  /// What is found of an image.
  private struct Row {
    var name: String
    var logProb: Double
    var bitsAtPoint: Double
    /// Nil where nothing is drawn.
    var expected: ExpectedBits?
    var bitsPerDim: Double { expected?.bitsPerDim ?? bitsAtPoint }
    var isFinite: Bool { logProb.isFinite && bitsPerDim.isFinite }
  }

  private func evaluate<Scalar: KernelScalar>(_: Scalar.Type) throws -> ExitStatus {
    let prior = try Prior<Scalar>(options: model, common: common)
    let (input, reading) = try images.open(for: prior, common: common)
    let flow = try prior.flow.at(input.shape)
    let progress = ProgressLine("logprob", total: input.count, unit: "images", options: common)
    let batch = batchSize(input.shape)
    let isDrawn = !images.raw && !prior.dequantization.isNone
    var rows: [Row] = []
    while rows.count < input.count, !Interrupt.requested {
      let range = rows.count..<min(rows.count + batch, input.count)
      let x: Tensor<Scalar> = try images.read(input, range, dequantization: prior.dequantization)
      let logProb = try flow.evaluate(x)
      let expected =
        isDrawn
        ? try ExpectedBits.measure(
          flow, x, indices: Array(input.indices[range]), dequantization: prior.dequantization,
          draws: draws, seed: common.seed) : nil
      for (k, value) in logProb.enumerated() {
        rows.append(
          Row(
            name: input.images.name(of: input.indices[range.lowerBound + k]), logProb: value,
            bitsAtPoint: prior.dequantization.bitsPerDim(logProb: value, dimensions: input.shape.count),
            expected: expected?[k]))
      }
      progress.update(Double(rows.count))
    }
    progress.finish()
    return try report(rows, isDrawn: isDrawn, prior.model.figures, prior.source, after: reading)
  }

  private func report(
    _ rows: [Row], isDrawn: Bool, _ figures: ModelFigures, _ source: ModelSource, after reading: AdviceList
  ) throws -> ExitStatus {
    var unusable = UnusableRows("have no finite log-density")
    unusable.add(rows.filter { !$0.isFinite }.map(\.name))
    let finite = rows.filter(\.isFinite)
    let unlike =
      images.raw ? [] : finite.compactMap { figures.advice(bitsPerDim: $0.bitsPerDim, of: $0.name) }
    // Images on another scale are unlike all others, but that is told.
    let advices = common.warn(
      about: [unusable], of: rows.count, and: reading.contains("range") ? [] : unlike,
      after: reading)
    let mean = finite.isEmpty ? nil : Evaluation(of: finite.map(\.bitsPerDim))
    try common.print(table(rows, finite, mean, isDrawn: isDrawn))
    try common.printJSON(
      .object(
        [
          ("logprob", .array(rows.map { .number($0.logProb) })),
          ("bitsPerDim", .array(rows.map { .number($0.bitsPerDim) })),
          ("standardError", .array(rows.map { .optional($0.expected?.standardError) })),
          ("bitsPerDimAtPoint", .array(rows.map { .number($0.bitsAtPoint) })),
          ("draws", .int(isDrawn ? draws : 0)),
          ("mean", mean.map { .object(Info.members($0)) } ?? .null), ("warnings", .warnings(advices)),
        ] + Provenance.members(model: source, common: common)))
    return Interrupt.status ?? (unusable.isEmpty ? .done : .noResult)
  }

  private func table(_ rows: [Row], _ finite: [Row], _ mean: Evaluation?, isDrawn: Bool) -> String {
    func text(_ value: Double?, _ digits: Int) -> String {
      value.map { $0.isFinite ? fixed($0, digits) : "none" } ?? ""
    }
    let showsError = isDrawn && draws > 1
    var table = TextTable(["image", "log p (nats)", "bits/dim"] + (showsError ? ["±"] : []))
    for row in rows {
      table.add(
        [row.name, text(row.logProb, 3), text(row.bitsPerDim, 4)]
          + (showsError ? [text(row.expected?.standardError, 4)] : []))
    }
    if let mean, rows.count > 1 {
      let logProb = finite.reduce(0) { $0 + $1.logProb } / Double(finite.count)
      table.addRule()
      table.add(
        ["mean", text(logProb, 3), text(mean.bitsPerDim, 4)]
          + (showsError ? [text(mean.standardError, 4)] : []))
    }
    guard isDrawn else { return table.text }
    return table.text
      + "\nbits/dim: the mean of \(draws) draw\(draws == 1 ? "" : "s") of the noise in the bins"
  }
}
