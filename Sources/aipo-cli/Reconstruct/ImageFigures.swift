import AIPO

/// The figures of one reconstructed image.
struct ImageFigures: Sendable {
  let source: String
  let psnr: Double?
  let ssim: Double?
  let psnrObserved: Double?
  let ssimObserved: Double?
  let rmse: Double?
  let objective: Double?
  let recon: Double
  let reg: Double?
  let gaussian: Double?
  /// What was minimised; other than the objective where `flowShare` is below 1.
  let target: Double?
  let lambda: Double
  let flowShare: Double
  let evaluations: Int
  let iterations: Int
  let seconds: Double
  let converged: Bool
  let reason: PathStop
  /// The path that was taken.
  let path: String
  /// Deviation of the noise that the solution supposes.
  let sigma: Double
  /// How far the result is from the observation in units of what the noise leads to expect.
  let misfit: Double

  /// Of the results for (some of) a chunk, with `images` theirs as one batch.
  static func of<Scalar: KernelScalar>(
    _ results: [ReconstructionResult<Scalar>], images: Tensor<Scalar>, chunk: ReconstructionInput.Chunk
  ) throws -> [ImageFigures] {
    let rows = results.map(\.index)
    let truth = try chunk.truth?.rows(rows).converted(to: Scalar.self)
    let observed = try chunk.observed.rows(rows).converted(to: Scalar.self)
    let psnr = try truth.map { try ImageMetrics.psnr(images, truth: $0) }
    let ssim = try truth.map { try ImageMetrics.ssim(images, truth: $0) }
    let before = try truth.map { try ImageMetrics.psnr(observed, truth: $0) }
    let similarity = try truth.map { try ImageMetrics.ssim(observed, truth: $0) }
    let rmse = try truth.map { try ImageMetrics.rmse(images, truth: $0) }
    return results.enumerated().map { k, result in
      ImageFigures(
        source: chunk.names[result.index], psnr: psnr?[k], ssim: ssim?[k], psnrObserved: before?[k],
        ssimObserved: similarity?[k], rmse: rmse?[k], objective: result.objective, recon: result.recon,
        reg: result.reg,
        gaussian: result.gaussian, target: result.target,
        lambda: result.lambda, flowShare: result.flowShare,
        evaluations: result.evaluations + chunk.sigmaEvaluations[result.index],
        iterations: result.iterations, seconds: result.seconds,
        converged: result.converged, reason: result.reason, path: result.path,
        sigma: chunk.sigmas[result.index], misfit: result.misfit)
    }
  }

  var json: JSONValue {
    .object([
      ("source", .string(source)), ("psnr", .optional(psnr)), ("ssim", .optional(ssim)),
      ("psnrObserved", .optional(psnrObserved)), ("ssimObserved", .optional(ssimObserved)),
      ("rmse", .optional(rmse)),
      ("objective", .optional(objective)),
      ("recon", .number(recon)), ("reg", .optional(reg)), ("lambda", .number(lambda)),
      ("flowShare", .number(flowShare)), ("gaussian", .optional(gaussian)), ("target", .optional(target)),
      ("evaluations", .int(evaluations)), ("iterations", .int(iterations)), ("seconds", .number(seconds)),
      ("converged", .bool(converged)), ("reason", .string(reason.rawValue)),
      ("sigma", .number(sigma)), ("misfit", .number(misfit)),
    ])
  }
}

/// The images of results as one batch.
func stack<Scalar: KernelScalar>(_ results: [ReconstructionResult<Scalar>]) throws -> Tensor<Scalar> {
  var elements: [Scalar] = []
  for result in results { elements += result.image.elements }
  return try Tensor(shape: [results.count] + results[0].image.shape, elements: elements)
}

/// The mean of what is there; nil where nothing is.
func mean(_ values: some Sequence<Double?>) -> Double? {
  var sum = 0.0
  var count = 0
  for case .some(let value) in values {
    sum += value
    count += 1
  }
  return count == 0 ? nil : sum / Double(count)
}
