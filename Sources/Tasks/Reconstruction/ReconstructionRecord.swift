import AIPOImaging
import AIPOKernels
import AIPOSolvers

/// What a solver made of one image: the members of an image in the JSON of `aipo reconstruct`.
public struct ReconstructionRecord: Codable, Hashable, Sendable {
  /// The file's name, with `#index` where it holds several.
  public var source: String
  /// In dB, of the result and of the observation; nil without a truth.
  public var psnr: Double?
  public var ssim: Double?
  public var psnrObserved: Double?
  public var ssimObserved: Double?
  public var rmse: Double?
  /// `recon + lambda·reg` in nats, all constants; nil with `reg` where the prior isn't finite.
  public var objective: Double?
  public var recon: Double?
  public var reg: Double?
  public var lambda: Double
  public var flowShare: Double
  public var gaussian: Double?
  /// What was minimised; other than the objective where `flowShare` is below 1.
  public var target: Double?
  /// Of the flow, those that an estimate of σ took with them.
  public var evaluations: Int
  public var iterations: Int
  /// Nil where it isn't kept: files hold no clock.
  public var seconds: Double?
  public var converged: Bool
  public var reason: PathStop
  /// Deviation of the noise that the solution supposes.
  public var sigma: Double
  /// How far the result is from the observation in units of what the noise leads to expect.
  public var misfit: Double?
  /// The path that was taken.
  public var path: String
  /// Of a problem that isn't linear: starts that were tried, and those that ended in the lowest minimum.
  public var starts: Int?
  public var startsAgreeing: Int?

  /// Of the results for (some of) a chunk, with `images` theirs as one batch.
  static func of(
    _ results: [ReconstructionResult], images: Tensor<Double>, chunk: ReconstructionInput.Chunk
  ) throws -> [ReconstructionRecord] {
    let rows = results.map(\.index)
    let truth = try chunk.truth?.rows(rows)
    let observed = try chunk.observed.rows(rows)
    typealias Metric = (Tensor<Double>, Tensor<Double>, Strips?) throws -> [Double?]
    func values(_ images: Tensor<Double>, _ metric: Metric) throws -> [Double?] {
      try truth.map { try metric(images, $0, chunk.strips) } ?? results.map { _ in nil }
    }
    let psnr = try values(images, ImageMetrics.psnr)
    let ssim = try values(images, ImageMetrics.ssim)
    let before = try values(observed, ImageMetrics.psnr)
    let similarity = try values(observed, ImageMetrics.ssim)
    let rmse = try values(images, ImageMetrics.rmse)
    return results.enumerated().map { k, result in
      ReconstructionRecord(
        source: chunk.names[result.index], psnr: psnr[k].finite, ssim: ssim[k].finite,
        psnrObserved: before[k].finite, ssimObserved: similarity[k].finite, rmse: rmse[k].finite,
        objective: result.objective.finite, recon: Optional(result.recon).finite, reg: result.reg.finite,
        lambda: result.lambda, flowShare: result.flowShare, gaussian: result.gaussian.finite,
        target: result.target.finite,
        evaluations: result.evaluations + chunk.sigmaEvaluations[result.index],
        iterations: result.iterations, seconds: result.seconds, converged: result.converged,
        reason: result.reason, sigma: chunk.sigmas[result.index], misfit: Optional(result.misfit).finite,
        path: result.path, starts: result.starts?.count, startsAgreeing: result.starts?.agreeing)
    }
  }
}

extension Double? {
  /// What JSON can hold.
  package var finite: Double? { flatMap { $0.isFinite ? $0 : nil } }
}
