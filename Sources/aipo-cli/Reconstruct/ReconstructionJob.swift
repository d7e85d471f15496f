import AIPO

/// The images of one set of flags with the prior they are solved under: what `reconstruct` runs once and
/// `study` many times.
struct ReconstructionJob<Scalar: KernelScalar> {
  let prior: Prior<Scalar>
  let gaussian: GaussianDensity?
  let input: ReconstructionInput
  let solver: SolverOptions

  /// Images of the run.
  var count: Int { input.count }

  /// Places of the run in chunks of bounded memory.
  func chunks(of places: Range<Int>) -> [Range<Int>] {
    let size = batchSize(prior.shape, limit: input.chunkLimit)
    return stride(from: places.lowerBound, to: places.upperBound, by: size).map {
      $0..<min($0 + size, places.upperBound)
    }
  }

  /// Least budget out of which σ is estimated with the flow.
  private static var leastBudget: Int { 400 }

  /// The images of a chunk as they are observed.
  func chunk(_ places: Range<Int>) throws -> ReconstructionInput.Chunk {
    var chunk = try input.chunk(places)
    chunk.problem.requantization = prior.model.requantization
    guard input.options.noise.sigma == .one(.auto) else { return chunk }
    chunk = try estimatingSigma(chunk)
    chunk.advices += zip(chunk.sigmas, chunk.names).compactMap { NoiseEstimate.advice($0, name: $1) }
    return chunk
  }

  /// Where the flow is at work anyway, it betters the estimate from the pixels alone.
  private func estimatingSigma(_ chunk: ReconstructionInput.Chunk) throws -> ReconstructionInput.Chunk {
    var chunk = chunk
    if input.options.task != .denoise {
      let first = try chunk.names.indices.map { try guess(chunk, $0) }
      chunk.problem = try chunk.problem.replacing(noises: first.map { try GaussianNoise(sigma: $0) })
      chunk.sigmas = first
    }
    guard solver.maxEvaluations >= Self.leastBudget,
      !solver.method.methods.allSatisfy({ $0 != .aipo && $0 != .fixed })
    else { return chunk }
    let options = solver.options(
      .aipo, seed: input.seed, indices: chunk.indices, dequantization: prior.dequantization)
    let found = try JointSigma.estimate(
      chunk.problem, prior: prior.flow, gaussian: gaussian, options: options)
    chunk.problem = try chunk.problem.replacing(noises: found.map { try GaussianNoise(sigma: $0.sigma) })
    chunk.sigmas = found.map(\.sigma)
    chunk.sigmaEvaluations = found.map(\.evaluations)
    return chunk
  }

  /// σ of an observation that is no whole picture, by the Gaussian of the training images.
  private func guess(_ chunk: ReconstructionInput.Chunk, _ image: Int) throws -> Double {
    guard let gaussian, let linear = chunk.problem.linearOperator(image) else {
      throw CommandFailure(
        .badData, "the model holds no Gaussian prior, which --sigma auto needs where pixels are missing")
    }
    return try gaussian.evidenceSigma(chunk.problem.observations[image], linearOperator: linear)
  }

  /// The solver of one method for a chunk. Throws where the method can't solve the problem.
  func reconstructor(_ method: ReconstructionMethod, _ chunk: ReconstructionInput.Chunk) throws
    -> Reconstructor<Scalar>
  {
    var options = solver.options(
      method, seed: input.seed, indices: chunk.indices, dequantization: prior.dequantization)
    options.maximumEvaluations = max(options.maximumEvaluations - (chunk.sigmaEvaluations.max() ?? 0), 1)
    return try Reconstructor(
      problem: chunk.problem, prior: prior.flow, gaussian: gaussian, options: options)
  }

  /// Solves a chunk by one method; images that an interruption cut short are left out.
  func solve(
    _ chunk: ReconstructionInput.Chunk, by method: ReconstructionMethod,
    onStates: @escaping ([PathState]) -> Void, onProgress: @escaping (ReconstructionProgress) -> Void
  ) throws -> [ReconstructionResult<Scalar>] {
    let observer = ReconstructionObserver<Scalar>(
      onStates: onStates, onProgress: onProgress, isCancelled: { Interrupt.requested })
    return try reconstructor(method, chunk).run(observer).filter { $0.reason != .cancelled }
  }

  /// What looks like a mistake, seen from the results; of those that nothing else is said about, that the pictures are
  /// unlike the prior's. Other methods than `aipo` may end anywhere.
  func advices(
    on results: [ReconstructionResult<Scalar>], by method: ReconstructionMethod,
    _ chunk: ReconstructionInput.Chunk
  ) throws -> [Advice] {
    let found = chunk.advices(results)
    guard method == .aipo else { return found }
    let known = Set((chunk.advices + found).compactMap(\.subject))
    return try found
      + prior.model.unlikeness(
        of: results.filter { !known.contains(chunk.names[$0.index]) }, of: chunk.problem, under: prior.flow,
        sources: chunk.indices, names: chunk.names, seed: input.seed)
  }
}

extension ReconstructionInput.Chunk {
  /// What looks like a mistake, seen from the results, of images about which nothing was found before.
  fileprivate func advices<Scalar: KernelScalar>(_ results: [ReconstructionResult<Scalar>]) -> [Advice] {
    results.compactMap { result in
      let name = names[result.index]
      guard result.objective != nil, !advices.contains(where: { $0.subject == name }) else { return nil }
      return problem.advice(
        ofSolution: result.image.elements.map { Double($0) }, image: result.index, name: name)
    }
  }
}

/// What goes on, for the progress line.
func describe(_ state: ReconstructionProgress, _ method: ReconstructionMethod) -> String {
  var text = method.rawValue
  if let lambda = state.lambda { text += ", λ \(fixed(lambda, 3))" }
  if let t = state.t, t < 1 { text += ", t \(fixed(t, 2))" }
  if let objective = state.objective { text += ", objective \(fixed(objective, 1))" }
  return text
}
