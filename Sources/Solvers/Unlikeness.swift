import AIPOFlows
import AIPOKernels
import AIPOPriors
import AIPOProblems

extension FlowModel {
  /// What to say of results where the picture that was measured is unlike those that this model was trained on. Empty
  /// where the model doesn't know what its training images are like, and for real-valued data.
  ///
  /// There are two signs. The data hold the result where it has more bits/dim than nearly all training images, by one
  /// draw of the noise, as those were measured. Or the prior holds it away from the data, and it misses them by more
  /// than the noise: nothing that the prior finds plausible explains them. The misfit of a picture of the right kind is
  /// about 1, or less since the result follows the noise; its error is 1/√(2m) for m measurements, of which `1 + 3/√m`
  /// allows four. At λ above 1 a result may miss by more, and one that isn't converged, too.
  ///
  /// `sources` are the images' indices in their source, `names` what they are called, both by place in the problem.
  public func unlikeness(
    of results: [ReconstructionResult], of problem: InverseProblem, under prior: any Prior, sources: [Int],
    names: [String], seed: UInt64
  ) throws -> [Advice] {
    guard figures.bitsLimit != nil, !dequantization.isNone, !results.isEmpty else { return [] }
    let scratch = Scratch(pool: ThreadPool(threads: 1, strips: prior.strips))
    return try results.compactMap { result in
      let name = names[result.index]
      let bits = try ExpectedBits.measure(
        prior, result.image.view, index: sources[result.index], dequantization: dequantization, draws: 1,
        seed: seed, scratch)
      if let advice = figures.advice(bitsPerDim: bits.bitsPerDim, of: name) { return advice }
      let measurements = Double(problem.observations[result.index].view.wholeCount(scratch.pool))
      guard result.converged, result.lambda <= 1, result.misfit > 1 + 3 / measurements.squareRoot() else {
        return nil
      }
      return Advice(
        "unlike the training images", of: name,
        "the result misses the observation by \(Advice.number(result.misfit)) σ, more than noise explains, because the "
          + "prior finds nothing like it plausible: the picture is unlike those that the model was trained on, or σ is "
          + "larger; use a prior that was trained on such images, or --sigma auto")
    }
  }
}
