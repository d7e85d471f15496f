import AIPOImaging
import AIPOKernels
import AIPOProblems
import AIPOSolvers

extension ReconstructionInput {
  /// Images of so many values are shared by ranks also where there are many.
  private static let sharedSize = 1 << 22

  /// Whether ranks have some rows each of an image, and no one the whole: where it is large enough or there are fewer images than
  /// ranks, of pictures from a file as they are stored, some pixels of an image or a blur of it under white Gaussian noise of a
  /// known σ, or one that the prior tells, reconstructed under a prior of patches by the path in its noise level.
  static func isShared(
    _ task: ReconstructionTask, _ images: ModelImages?, _ measurement: TaskOperator, of shape: ImageShape,
    _ model: ReconstructionModel, _ ranks: any Ranks
  ) -> Bool {
    guard ranks.count > 1, let images, task.simulate == nil, task.truth == nil, measurement.canBeShared,
      images.count < ranks.count || shape.count >= sharedSize,
      min(shape.height, images.shape.height) >= 2 * ranks.count,
      model.isOfSharedPatches, shape != model.model.imageShape,
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
    return hasSigma && !images.transform.changes(images.images.shape(of: images.indices.first ?? 0))
  }

  /// This rank's rows of the image at a place of the run, as a problem of their own.
  func strip(of place: Int, _ strips: Strips) throws -> Chunk {
    guard case .images(let images, _) = source else { preconditionFailure("only pictures are shared") }
    let (names, indices) = identities(place..<place + 1)
    let own = ImageShape(height: strips.rows().count, width: shape.width, channels: shape.channels)
    var (map, rows) = try measurement.strip(own, strips)
    let length = shape.width * shape.channels
    let mask = masks(indices)?.first?[rows.lowerBound * length..<rows.upperBound * length]
    let picture = try images.images.read(
      indices[0], rows: rows, range: images.transform.range, nonFinite: mask == nil ? .refused : .allowed)
    var observation = picture.reshaped([picture.count])
    if let mask {
      let masked = try MaskMap(own, mask: Array(mask))
      var seen = try Tensor<Double>(count: masked.output.count)
      seen.withMemory { masked.apply(picture.view, into: $0, Scratch()) }
      try Self.requireFinite([seen], names)
      (map, observation) = (masked, seen)
    }
    let scratch = Scratch(pool: ThreadPool(threads: 1, strips: strips))
    let noises = try noise.models([observation], maps: [map], indices: indices, scratch)
    let problem = try InverseProblem(
      maps: [map], noises: noises, observations: [observation], imageShape: own)
    let advices = try problem.advices(
      ofObservation: 0, name: names[0], isEstimated: isEstimated, scratch)
    return Chunk(
      offset: place, names: names, indices: indices, problem: problem,
      sigmas: [try noises[0].matched(observation.view).sigma], sigmaEvaluations: [0], truth: nil,
      observed: try Tensor(shape: [1, 0, own.width, own.channels]), masks: nil, measuredShape: rowShape,
      advices: advices)
  }
}
