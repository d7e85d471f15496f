import AIPOImaging
import AIPOKernels
import AIPOProblems
import AIPOSolvers

extension ReconstructionInput {
  /// Whether ranks can have some rows each of an image, and no one the whole: pictures from a file as they are stored, seen pixel by
  /// pixel under white Gaussian noise of a known σ, and reconstructed by the path in the prior's noise level.
  var canBeShared: Bool {
    guard case .images(let images, truth: nil) = source, task.kind == .denoise, task.methods == [.aipo],
      [.auto, .smooth].contains(task.path), task.space == .x, [.auto, .observed].contains(task.start),
      task.flowShare.number ?? 1 == 1, case .number = task.sigma, task.lambda != .evidence,
      !images.transform.changes(images.images.shape(of: images.indices.first ?? 0)),
      let known = try? noise.known(IdentityMap(shape)), let gaussian = known as? GaussianNoise,
      case .isotropic = gaussian.covariance
    else { return false }
    return true
  }

  /// This rank's rows of the image at a place of the run, as a problem of their own.
  func strip(of place: Int, _ strips: Strips) throws -> Chunk {
    guard case .images(let images, _) = source else { preconditionFailure("only pictures are shared") }
    let (names, indices) = identities(place..<place + 1)
    let rows = strips.rows()
    let picture = try images.images.read(indices[0], rows: rows, range: images.transform.range)
    let strip = ImageShape(height: rows.count, width: shape.width, channels: shape.channels)
    let map = IdentityMap(strip)
    guard let known = try noise.known(map) else { preconditionFailure("the noise was known") }
    let problem = try InverseProblem(
      maps: [map], noises: [known], observations: [picture.reshaped([strip.count])], imageShape: strip)
    let advices = try problem.advices(
      ofObservation: 0, name: names[0], Scratch(pool: ThreadPool(threads: 1, strips: strips)))
    return Chunk(
      offset: place, names: names, indices: indices, problem: problem,
      sigmas: [try known.matched(problem.observations[0].view).sigma], sigmaEvaluations: [0], truth: nil,
      observed: try Tensor(shape: [1, 0, strip.width, strip.channels]), masks: nil, measuredShape: rowShape,
      advices: advices)
  }
}
