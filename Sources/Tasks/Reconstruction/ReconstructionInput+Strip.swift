import AIPOImaging
import AIPOKernels
import AIPOProblems
import AIPOSolvers

extension ReconstructionInput {
  /// Images of so many values are shared by ranks also where there are many.
  private static let sharedSize = 1 << 22

  /// Whether ranks have some rows each of an image, and no one the whole: where it is large enough or there are fewer images than
  /// ranks, of pictures from a file as they are stored, some pixels of an image or a blur of it under white Gaussian noise of a
  /// known σ, or one that the prior tells, reconstructed by the path in the noise level of a prior that can be shared.
  static func isShared(
    _ task: ReconstructionTask, _ images: ModelImages?, _ truth: ModelImages?, _ measurement: TaskOperator,
    of shape: ImageShape, _ model: ReconstructionModel, _ ranks: any Ranks
  ) -> Bool {
    guard ranks.count > 1, let images, task.simulate == nil, measurement.canBeShared,
      images.count < ranks.count || shape.count >= sharedSize,
      min(shape.height, images.shape.height) >= 2 * ranks.count,
      model.model.canBeShared(shape, ranks: ranks), shape != model.model.imageShape,
      task.methods == [.aipo], [.auto, .smooth].contains(task.path), task.space == .x,
      [.auto, .observed, .gaussian].contains(task.start), task.lambda != .evidence,
      task.noise == .gaussian, task.noiseCovariance == nil, task.quantize == nil, task.saturate == nil
    else { return false }
    let hasSigma =
      switch task.sigma {
      case .number, nil: true
      case .auto: task.kind == .denoise && task.maxEvaluations >= Reconstruction.leastBudget
      case .evidence, .file: false
      }
    return hasSigma
      && [images, truth].compactMap(\.self).allSatisfy {
        !$0.transform.changes($0.images.shape(of: $0.indices.first ?? 0))
      }
  }

  /// This rank's rows of the image at a place of the run, as a problem of their own.
  func strip(of place: Int, _ strips: Strips) throws -> Chunk {
    guard case .images(let images, let known) = source else { preconditionFailure("no picture is shared") }
    let (names, indices) = identities(place..<place + 1)
    let own = ImageShape(height: strips.rows().count, width: shape.width, channels: shape.channels)
    var (map, rows) = try measurement.strip(own, strips)
    let length = shape.width * shape.channels
    let mask = masks(indices)?.first.map { $0[rows.lowerBound * length..<rows.upperBound * length] }
    let picture = try images.images.read(
      indices[0], rows: rows, range: images.transform.range, nonFinite: mask == nil ? .refused : .allowed)
    var observation = picture.reshaped([picture.count])
    if let mask {
      let masked = try MaskMap(own, mask: Array(mask))
      if let bad = masked.observed.first(where: { !picture[flat: $0].isFinite }) {
        throw TaskError(
          .data,
          "\(names[0]): the observed value at row \(rows.lowerBound + bad / length), column \(bad % length / shape.channels) is "
            + "\(picture[flat: bad]), expected a finite number")
      }
      var seen = try Tensor<Double>(count: masked.output.count)
      seen.withMemory { masked.apply(picture.view, into: $0, Scratch()) }
      (map, observation) = (masked, seen)
    }
    let scratch = Scratch(pool: ThreadPool(threads: 1, strips: strips))
    let noises = try noise.models([observation], maps: [map], indices: indices, scratch)
    let problem = try InverseProblem(
      maps: [map], noises: noises, observations: [observation], imageShape: own)
    var truth: Tensor<Double>?
    var observed = try Tensor<Double>(shape: [1, 0, own.width, own.channels])
    if let known {
      let rows = try known.images.read(
        known.indices[place], rows: strips.rows(), range: known.transform.range)
      truth = rows.reshaped([1, own.height, own.width, own.channels])
      observed = try Tensor(shape: truth!.shape)
      let matched = try noises[0].matched(observation.view)
      let isPicture = mask == nil && measurement.measured(shape) == shape
      try observed.withMemory {
        try setPicture($0, of: observation.view, map, isPicture: isPicture, matched, scratch)
      }
    }
    let clean = truth?.reshaped([own.count])
    var advices = try problem.advices(
      ofObservation: 0, name: names[0], isEstimated: isEstimated, truth: clean, scratch)
    if let clean { advices += darkTruthAdvice(clean, names[0], scratch) }
    return Chunk(
      offset: place, names: names, indices: indices, problem: problem,
      sigmas: [try noises[0].matched(observation.view).sigma], sigmaEvaluations: [0], truth: truth,
      observed: observed, masks: nil, measuredShape: rowShape, advices: advices, strips: strips)
  }
}
