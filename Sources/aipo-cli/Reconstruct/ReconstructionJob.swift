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

  /// The solver of one method for a chunk. Throws where the method can't solve the problem.
  func reconstructor(_ method: ReconstructionMethod, _ chunk: ReconstructionInput.Chunk) throws
    -> Reconstructor<Scalar>
  {
    try Reconstructor(
      problem: chunk.problem, prior: prior.flow, gaussian: gaussian,
      options: solver.options(method, seed: input.seed, indices: chunk.indices))
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
}

/// What goes on, for the progress line.
func describe(_ state: ReconstructionProgress, _ method: ReconstructionMethod) -> String {
  var text = method.rawValue
  if let lambda = state.lambda { text += ", λ \(fixed(lambda, 3))" }
  if let t = state.t, t < 1 { text += ", t \(fixed(t, 2))" }
  if let objective = state.objective { text += ", objective \(fixed(objective, 1))" }
  return text
}
