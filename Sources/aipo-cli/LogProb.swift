import AIPO
import ArgumentParser

/// `aipo logprob`: log-densities of images.
struct LogProb: Verb {
  static let configuration = CommandConfiguration(
    commandName: "logprob",
    abstract: "Tell the log-density of images.",
    discussion: """
      log p(x) in nats with x on [0, 1], and bits/dim = −log₂ p(x)/d + the bits of
      the dequantisation.

      Example:
        aipo logprob images.npy --json
      """)

  @OptionGroup var images: InputImageOptions
  @OptionGroup var model: ModelOptions
  @OptionGroup var common: CommonOptions

  func perform() throws -> ExitStatus {
    Interrupt.install()
    return switch common.precision {
    case .float32: try evaluate(Float.self)
    case .float64: try evaluate(Double.self)
    }
  }

  private func evaluate<Scalar: KernelScalar>(_: Scalar.Type) throws -> ExitStatus {
    let prior = try Prior<Scalar>(options: model, common: common)
    let input = try images.open(prior.shape, common: common)
    let progress = ProgressLine("logprob", total: input.count, unit: "images", options: common)
    let batch = batchSize(prior.shape)
    var values: [Double] = []
    while values.count < input.count, !Interrupt.requested {
      let range = values.count..<min(values.count + batch, input.count)
      let x: Tensor<Scalar> = try images.read(input, range, dequantization: prior.dequantization)
      for (k, value) in try prior.flow.evaluate(x).enumerated() {
        guard value.isFinite else {
          let name = input.images.name(of: input.indices[range.lowerBound + k])
          throw CommandFailure(
            .badData, "the model gives \(value) as the log-density of \(name), expected a finite number")
        }
        values.append(value)
      }
      progress.update(Double(values.count))
    }
    progress.finish()
    let bits = values.map { prior.dequantization.bitsPerDim(logProb: $0, dimensions: prior.shape.count) }
    var table = TextTable(["image", "log p (nats)", "bits/dim"])
    for (k, value) in values.enumerated() {
      table.add([input.images.name(of: input.indices[k]), fixed(value, 3), fixed(bits[k], 4)])
    }
    if values.count > 1 {
      table.addRule()
      let n = Double(values.count)
      table.add(["mean", fixed(values.reduce(0, +) / n, 3), fixed(bits.reduce(0, +) / n, 4)])
    }
    try common.print(table.text)
    try common.printJSON(
      .object(
        [
          ("logprob", .array(values.map { .number($0) })), ("bitsPerDim", .array(bits.map { .number($0) })),
        ] + Provenance.members(model: prior.source, common: common)))
    return Interrupt.status ?? .done
  }
}
