import AIPOImaging
import AIPOKernels
import AIPOSolvers

/// What the draws of one image come to: the members of an image in the JSON of `aipo posterior`.
public struct PosteriorRecord: Encodable, Sendable {
  public var source: String
  /// The density that was sampled.
  public var density: String
  public var sampler: String
  /// `x`, over the prior's values, or `z`, over latents.
  public var space: String
  public var chains: Int
  public var draws: Int
  public var warmup: Int
  /// Draws from one that is kept to the next.
  public var thin: Int
  /// Why no interval is given; nil where chains agree.
  public var disagreement: String?
  /// Of the mean image, in dB, and of the observation; nil without a truth.
  public var psnr: Double?
  public var ssim: Double?
  public var psnrObserved: Double?
  /// The mean of the values' deviations.
  public var sd: Double
  /// The share of the true values that lie in their interval.
  public var coverage: Double?
  /// The greatest, of all functionals and of all values.
  public var rhat: Double?
  public var rhatPixel: Double?
  /// The least of all values.
  public var essBulk: Double?
  public var essTail: Double?
  /// The greatest of the standard errors of the values' means.
  public var mcse: Double?
  public var worst: Worst
  public var acceptance: Double
  public var divergences: Int
  public var energyFraction: Double?
  public var logEvidence: Double?
  public var logEvidenceError: Double?
  public var evaluations: Int
  public var warmupEvaluations: Int
  public var step: Double
  /// The heaviest first; one where no valley parts the draws.
  public var modes: [Mode]
  public var functionals: [Functional]

  /// A way in which the measurement can be explained.
  public struct Mode: Encodable, Sendable {
    /// Its share of the posterior, and the standard error of that; nil where chains don't go from mode to mode.
    public var weight: Double?
    public var weightError: Double?
    /// Its draws among those that were looked at.
    public var draws: Int
    public var chains: Int

    init(_ mode: PosteriorMode) {
      (weight, weightError, draws, chains) = (mode.weight, mode.weightError, mode.draws, mode.chains)
    }

    /// Its weight, for a line.
    var words: String {
      guard let weight else { return counted(draws, "draw") }
      return fixed(100 * weight, 0) + (weightError.map { " ± \(fixed(100 * $0, 0))" } ?? "") + " %"
    }
  }

  /// Where the diagnostics are the worst.
  public struct Worst: Encodable, Sendable {
    public var rhat: String?
    public var rhatPixel: String?
    public var essBulk: String?
    public var essTail: String?
    public var mcse: String?
  }

  public struct Functional: Encodable, Sendable {
    public var name: String
    public var mean: Double
    public var sd: Double
    /// The ends of the central interval; nil where chains disagree.
    public var low: Double?
    public var high: Double?
    public var rhat: Double?
    public var essBulk: Double?
    public var essTail: Double?
    public var mcse: Double?

    init(_ functional: PosteriorSummary.Functional) {
      (name, mean, sd) = (functional.name, functional.mean, functional.sd)
      (low, high) = (functional.interval?.lowerBound, functional.interval?.upperBound)
      (rhat, mcse) = (functional.rHat, functional.mcse)
      (essBulk, essTail) = (functional.essBulk, functional.essTail)
    }
  }

  init(
    source: String, sampler: PosteriorSampler, outcome: PosteriorSampler.Outcome, summary: PosteriorSummary,
    modes: [PosteriorMode], truth: Tensor<Double>?, observed: Tensor<Double>?
  ) throws {
    self.source = source
    density = sampler.density.words
    self.sampler = sampler.options.sampler.resolved.rawValue
    space = sampler.density.isLatent ? "z" : "x"
    (chains, draws, warmup) = (summary.chains, summary.draws, sampler.options.warmUp)
    thin = summary.spacing
    disagreement = summary.disagreement
    func value(
      _ image: Tensor<Double>?, _ metric: (Tensor<Double>, Tensor<Double>) throws -> [Double?]
    ) throws -> Double? {
      guard let image, let truth else { return nil }
      let batch = [1] + truth.shape
      return try metric(image.reshaped(batch), truth.reshaped(batch))[0].finite
    }
    psnr = try value(summary.mean) { try ImageMetrics.psnr($0, truth: $1) }
    ssim = try value(summary.mean) { try ImageMetrics.ssim($0, truth: $1) }
    psnrObserved = try value(observed) { try ImageMetrics.psnr($0, truth: $1) }
    sd = summary.sd.view.total() / Double(summary.sd.count)
    if let truth, let low = summary.quantiles.first?.image, let high = summary.quantiles.last?.image,
      summary.quantiles.count > 1
    {
      let inside = (0..<truth.count).count {
        truth[flat: $0] >= low[flat: $0] && truth[flat: $0] <= high[flat: $0]
      }
      coverage = Double(inside) / Double(truth.count)
    }
    rhat = summary.functionalRHat?.value
    rhatPixel = summary.rHat?.value
    essBulk = summary.essBulk?.value
    essTail = summary.essTail?.value
    mcse = summary.mcse?.value
    worst = Worst(
      rhat: summary.functionalRHat?.name, rhatPixel: summary.rHat?.name, essBulk: summary.essBulk?.name,
      essTail: summary.essTail?.name, mcse: summary.mcse?.name)
    (acceptance, divergences) = (summary.acceptance, summary.divergences)
    energyFraction = sampler.options.sampler.resolved == .hmc ? summary.energyFraction : nil
    logEvidence = outcome.evidence?.logEvidence
    logEvidenceError = outcome.evidence?.error
    (evaluations, warmupEvaluations) = (outcome.evaluations, outcome.warmUpEvaluations)
    step = outcome.tuning.step
    self.modes = modes.map(Mode.init)
    functionals = summary.functionals.map(Functional.init)
  }

  /// Its modes where there are several, for a line.
  var modesInWords: String? {
    guard modes.count > 1 else { return nil }
    let unknown = "; the chains don't go from one to the other, so their weights aren't known"
    return "\(source): \(modes.count) modes, of \(modes.map(\.words).joined(separator: ", "))"
      + (modes[0].weight == nil ? unknown : "") + "."
  }
}
