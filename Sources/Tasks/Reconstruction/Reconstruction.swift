import AIPOFlows
import AIPOImaging
import AIPOKernels
import AIPOPriors
import AIPOProblems
import AIPOSolvers

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// One image as it comes out of a reconstruction.
public struct ReconstructedImage: Sendable {
  public let method: ReconstructionMethod
  public let record: ReconstructionRecord
  /// `[h, w, c]`, finite always.
  public let image: Tensor<Double>
  /// Where its pixels are in space, if the file says.
  public let geometry: ImageGeometry?

  /// Writes the image in the format of the suffix (`ImageOutputFormat`); a PNG is clipped.
  public func write(to path: String) throws(FileError) {
    try ImageOutput.write(image.reshaped([1] + image.shape), to: path, geometry: geometry)
  }
}

/// The images of a task with the prior that they are solved under.
///
/// ```swift
/// for result in try Reconstruction(task).run() { print(result.record.psnr ?? 0) }
/// ```
public struct Reconstruction {
  /// With all that is known by its measurements.
  public var task: ReconstructionTask { input.task }
  public let model: ReconstructionModel
  let prior: any Prior
  /// Where ranks share each image row by row: every one of them then runs the same.
  package let strips: Strips?
  let input: ReconstructionInput

  /// Checks the task, and opens what it names. Images may be of any size that the model's flow accepts, and of any
  /// other by a reflected margin.
  ///
  /// - `model`: in place of the task's, in its precision. Where neither is named, the images tell which shipped prior to
  ///   take.
  /// - `images`: in place of the file that the task simulates, or else of the one that it observes.
  /// - `ranks`: those that share an image row by row, where it is large enough or there are fewer images than ranks, and where
  ///   that is possible (`ReconstructionInput.isShared`). What `run` gives is then this rank's rows.
  ///
  /// Throws `TaskError`, `FileError` and what loading a model throws.
  public init(
    _ task: ReconstructionTask, model: ReconstructionModel? = nil, images: ImageSet? = nil,
    threads: Int = ThreadPool.availableCores, ranks: any Ranks = OneRank()
  ) throws {
    var task = task
    if let images, task.simulate == nil { task.observation = images.path }
    try task.check()
    let model =
      try model
      ?? ReconstructionModel(
        task.model, for: ReconstructionInput.shape(of: task, images), precision: task.precision,
        threads: threads)
    self.model = model
    input = try ReconstructionInput(task, model: model, images: images, threads: threads, ranks: ranks)
    prior = try model.prior(at: input.shape, ranks: input.isShared ? ranks : OneRank())
    strips = input.isShared ? prior.strips : nil
    if input.isShared { try ranks.requireSame(try decides()) }
  }

  /// The Gaussian of the training images; nil where the model holds none. It takes some of an image's memory.
  var gaussian: GaussianPrior? { get throws { try model.gaussian(at: input.shape, strips) } }

  /// What must be the same for all that work on a task, in words.
  func decides() throws -> [(what: String, value: String)] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = .sortedKeys
    return [
      ("program", try AIPOVersion.build()), ("checksum of the model", model.source.checksum),
      ("number of images", "\(count)"), ("task", String(decoding: try encoder.encode(task), as: UTF8.self)),
    ]
  }

  /// Images of the run.
  public var count: Int { input.count }

  /// What looks like a mistake about the images as a whole.
  public var advices: [Advice] { input.advices }

  /// Solves all images by all methods.
  public func run(observer: WorkObserver = WorkObserver()) throws -> [ReconstructedImage] {
    var images: [ReconstructedImage] = []
    let geometry = input.geometry
    try run(
      0..<count, observer: ReconstructionWatch(work: observer),
      take: { solved in
        images += zip(solved.records, solved.results).map {
          ReconstructedImage(
            method: solved.method, record: $0, image: $1.image,
            geometry: geometry?.from(slice: solved.chunk.offset + $1.index))
        }
      })
    return images
  }

  /// Solves the images at these places by all methods, a chunk at a time. Images that an interruption cut short are left
  /// out.
  package func run(
    _ places: Range<Int>, observer: ReconstructionWatch, advise: ([Advice]) -> Void = { _ in },
    take: (SolvedChunk) throws -> Void
  ) throws {
    var observer = observer
    if let strips {
      // All ranks stop at the same place.
      observer.work.isCancelled = { [isCancelled = observer.work.isCancelled] in strips.any(isCancelled()) }
    }
    let isCancelled = observer.work.isCancelled
    var done = 0
    for places in chunks(of: places) where !isCancelled() {
      guard let chunk = try self.chunk(places, watch: observer.estimates(places.lowerBound)) else { return }
      advise(chunk.advices)
      for method in task.methods where !isCancelled() {
        let (results, quality) = try solve(chunk, method, observer, done: done)
        let advices = try advices(on: results, by: method, chunk)
        advise(advices)
        done += chunk.indices.count
        if !results.isEmpty { try take(try solved(results, method, chunk, quality, advices)) }
        observer.work.onProgress(Double(done))
      }
    }
  }

  /// The results of one method for a chunk, but for those that an interruption cut short.
  func solve(
    _ chunk: ReconstructionInput.Chunk, _ method: ReconstructionMethod, _ observer: ReconstructionWatch,
    done: Int
  ) throws -> ([ReconstructionResult], PathQuality) {
    let quality = PathQuality(chunk)
    let results = try reconstructor(method, chunk).run(
      ReconstructionObserver(
        onState: { if observer.isTraced { quality.observe($0, $2) } },
        onProgress: { observer.onState($0, method, Double(done + $0.finished)) },
        isCancelled: observer.work.isCancelled))
    return (results.filter { $0.reason != .cancelled }, quality)
  }

  /// What becomes of results in records and files.
  func solved(
    _ results: [ReconstructionResult], _ method: ReconstructionMethod, _ chunk: ReconstructionInput.Chunk,
    _ quality: PathQuality, _ advices: [Advice]
  ) throws -> SolvedChunk {
    let images = try Self.stack(results)
    return SolvedChunk(
      method: method, chunk: chunk, results: results, images: images,
      records: try ReconstructionRecord.of(results, images: images, chunk: chunk), quality: quality,
      advices: chunk.advices + advices)
  }

  /// The images of results as one batch.
  private static func stack(_ results: [ReconstructionResult]) throws -> Tensor<Double> {
    let shape = [results.count] + results[0].image.shape
    if results.count == 1 { return results[0].image.reshaped(shape) }
    return try Tensor(shape: shape, elements: results.flatMap(\.image.elements))
  }

  /// Throws where the first image can't be made a problem, or a method can't solve it.
  package func checkFirst() throws {
    let chunk = try input.chunk(0..<1)
    for method in task.methods { _ = try reconstructor(method, chunk) }
  }

  /// Places of the run in chunks of bounded memory.
  func chunks(of places: Range<Int>) -> [Range<Int>] {
    let size = strips == nil ? batchSize(input.shape, limit: input.chunkLimit) : 1
    return stride(from: places.lowerBound, to: places.upperBound, by: size).map {
      $0..<min($0 + size, places.upperBound)
    }
  }

  /// Least budget out of which σ is estimated with the flow.
  static var leastBudget: Int { 400 }

  /// What was found of an image by its measurements before it is solved.
  struct Estimate {
    var sigma: Double
    var evaluations: Int
    var lambda: Double?
  }

  /// The images of a chunk as they are observed, with σ and λ where these are to be found; nil where that was stopped.
  /// `estimates` are taken as found before.
  func chunk(_ places: Range<Int>, estimates: [Estimate]? = nil, watch: EstimateWatch) throws
    -> ReconstructionInput.Chunk?
  {
    var chunk = try strips.map { try input.strip(of: places.lowerBound, $0) } ?? input.chunk(places)
    if let estimates {
      if input.isEstimated {
        chunk.problem = try chunk.problem.replacing(
          noises: estimates.map { try GaussianNoise(sigma: $0.sigma) })
        (chunk.sigmas, chunk.sigmaEvaluations) = (estimates.map(\.sigma), estimates.map(\.evaluations))
      }
      chunk.lambda = estimates.first?.lambda
    } else {
      do {
        if input.isEstimated { chunk = try estimatingSigma(chunk) }
        if task.sigma == .evidence { chunk = try byEvidence(chunk, watch) }
        if task.lambda == .evidence { chunk.lambda = try lambda(chunk, watch) }
      } catch is SamplingCancelled { return nil }
    }
    if input.isEstimated {
      chunk.advices += zip(chunk.sigmas, chunk.names).compactMap { NoiseEstimate.advice($0, name: $1) }
    }
    return chunk
  }

  /// Where the flow is at work anyway, it betters the estimate from the pixels alone.
  private func estimatingSigma(_ chunk: ReconstructionInput.Chunk) throws -> ReconstructionInput.Chunk {
    var chunk = chunk
    if task.kind != .denoise {
      let first = try chunk.names.indices.map { try guess(chunk, $0) }
      chunk.problem = try chunk.problem.replacing(noises: first.map { try GaussianNoise(sigma: $0) })
      chunk.sigmas = first
    }
    // The prior tells the noise of a whole picture by itself.
    let asksPriorAlone = task.kind == .denoise && prior.noiseLevels != nil
    guard task.maxEvaluations >= Self.leastBudget,
      task.methods.contains(where: { $0 == .aipo || $0 == .fixed })
    else { return chunk }
    let options = task.options(
      .aipo, shape: input.shape, indices: chunk.indices, dequantization: model.model.dequantization)
    let found = try JointSigma.estimate(
      chunk.problem, prior: prior, gaussian: asksPriorAlone ? nil : gaussian, options: options,
      pool: model.pool)
    chunk.sigmas = found.map(\.sigma)
    chunk.sigmaEvaluations = found.map(\.evaluations)
    try lowerToReduced(&chunk)
    chunk.problem = try chunk.problem.replacing(noises: chunk.sigmas.map { try GaussianNoise(sigma: $0) })
    return chunk
  }

  /// A reduced picture is a picture itself, and the prior may tell its noise as that of any. Both estimates count what the
  /// prior can't explain as noise, so that the lower one is taken.
  private func lowerToReduced(_ chunk: inout ReconstructionInput.Chunk) throws {
    guard task.kind == .superresolve else { return }
    let scratch = Scratch(pool: model.pool)
    for k in chunk.sigmas.indices {
      let reduced = chunk.problem.map(k).output
      // Of a picture smaller than its patches a prior says nothing.
      guard model.accepts(reduced), let small = try? model.prior(at: reduced), let levels = small.noiseLevels
      else { continue }
      let found = try JointSigma.mostProbable(chunk.problem.observations[k], small, levels, scratch)
      chunk.sigmas[k] = min(chunk.sigmas[k], found.sigma)
      chunk.sigmaEvaluations[k] += found.evaluations
    }
  }

  /// σ of the greatest evidence, from the first guess on.
  private func byEvidence(_ chunk: ReconstructionInput.Chunk, _ watch: EstimateWatch) throws
    -> ReconstructionInput.Chunk
  {
    var chunk = chunk
    let guessed = try chunk.problem.replacing(noises: chunk.sigmas.map { try GaussianNoise(sigma: $0) })
    let count = Double(chunk.indices.count)
    let found = try chunk.indices.enumerated().map { k, source in
      try EvidenceSigma.estimate(
        guessed.dataTerm(k, encoding: prior.encoding), prior: prior, gaussian: try gaussian, seed: task.seed,
        source: UInt64(source), pool: model.pool, isCancelled: watch.isCancelled,
        onProgress: { watch.onProgress((Double(k) + $0) / count, "σ of the greatest evidence") })
    }
    chunk.problem = try chunk.problem.replacing(noises: found.map { try GaussianNoise(sigma: $0.sigma) })
    chunk.sigmas = found.map(\.sigma)
    return chunk
  }

  /// λ of the greatest evidence of a chunk's only image.
  private func lambda(_ chunk: ReconstructionInput.Chunk, _ watch: EstimateWatch) throws -> Double {
    try EvidenceLambda.estimate(
      chunk.problem.dataTerm(0, encoding: prior.encoding), prior: prior, seed: task.seed,
      source: UInt64(chunk.indices[0]), pool: model.pool, isCancelled: watch.isCancelled,
      onProgress: { watch.onProgress($0, "λ of the greatest evidence") }
    ).lambda
  }

  /// σ of an observation that is no whole picture, by the Gaussian of the training images.
  private func guess(_ chunk: ReconstructionInput.Chunk, _ image: Int) throws -> Double {
    guard let gaussian = try gaussian, let map = chunk.problem.linearMap(image) else {
      throw TaskError(
        .data, "the model holds no Gaussian prior, which --sigma auto needs where pixels are missing")
    }
    return try gaussian.evidenceSigma(
      chunk.problem.observations[image].view, map: map, Scratch(pool: model.pool))
  }

  /// The solver of one method for a chunk. Throws where the method can't solve the problem.
  private func reconstructor(_ method: ReconstructionMethod, _ chunk: ReconstructionInput.Chunk) throws
    -> Reconstructor
  {
    var options = task.options(
      method, shape: input.shape, indices: chunk.indices, dequantization: model.model.dequantization)
    if let lambda = chunk.lambda { options.lambda = .value(lambda) }
    options.maximumEvaluations = max(options.maximumEvaluations - (chunk.sigmaEvaluations.max() ?? 0), 1)
    return try Reconstructor(
      problem: chunk.problem, prior: prior, gaussian: needsGaussian(options, chunk.problem) ? gaussian : nil,
      options: options,
      pool: model.pool)
  }

  /// Where the data see every pixel the path in the noise level mostly asks nothing of the Gaussian.
  private func needsGaussian(_ options: ReconstructionOptions, _ problem: InverseProblem) -> Bool {
    !(task.kind == .denoise && options.method == .aipo && [.auto, .smooth].contains(options.path)
      && prior.noiseLevels != nil && options.space == .x && [.auto, .observed].contains(options.start)
      && options.flowShare ?? 1 == 1
      && !SmoothPath.usual(
        for: problem.map(0), .whole, under: problem.noise(0), isNormalized: prior.isNormalized
      ).asksForGaussian)
  }

  /// log p(y) of an image of a chunk under the prior and the noise's law; nil where it was stopped.
  package func evidence(
    of image: Int, in chunk: ReconstructionInput.Chunk, isCancelled: @escaping () -> Bool
  ) throws -> EvidenceEstimate? {
    var options = PosteriorOptions()
    options.sampler = .smc
    options.seed = task.seed
    let sampler = try PosteriorSampler(
      data: chunk.problem.dataTerm(image, encoding: prior.encoding), prior: prior, gaussian: try gaussian,
      options: options, source: UInt64(chunk.indices[image]), pool: model.pool)
    try EvidenceEstimate.requireDensity(prior)
    do { return try sampler.run(isCancelled: isCancelled).evidence } catch is SamplingCancelled { return nil }
  }

  /// What looks like a mistake, seen from the results; of those that nothing else is said about, that the pictures are
  /// unlike the prior's. Other methods than `aipo` may end anywhere.
  func advices(
    on results: [ReconstructionResult], by method: ReconstructionMethod,
    _ chunk: ReconstructionInput.Chunk
  ) throws -> [Advice] {
    let found = try chunk.advices(results, Scratch(pool: ThreadPool(threads: 1, strips: strips)))
    guard method == .aipo else { return found }
    let known = Set((chunk.advices + found).compactMap(\.subject))
    return try found
      + model.model.unlikeness(
        of: results.filter { !known.contains(chunk.names[$0.index]) }, of: chunk.problem, under: prior,
        sources: chunk.indices, names: chunk.names, seed: task.seed)
  }
}

extension ReconstructionInput.Chunk {
  /// What looks like a mistake, seen from the results, of images about which nothing was found before.
  fileprivate func advices(_ results: [ReconstructionResult], _ scratch: Scratch) throws -> [Advice] {
    try results.compactMap { result in
      let name = names[result.index]
      guard result.objective != nil, !advices.contains(where: { $0.subject == name }) else { return nil }
      return try problem.advice(ofSolution: result.image, image: result.index, name: name, scratch)
    }
  }
}

/// How a caller sees estimates that take many draws, and stops them.
struct EstimateWatch {
  var isCancelled: () -> Bool = { false }
  var onProgress: (_ share: Double, _ words: String) -> Void = { _, _ in }
}

/// How a caller sees a reconstruction.
package struct ReconstructionWatch {
  package var work: WorkObserver
  /// Whether the states of the paths are looked at, for the PSNR along them.
  package var isTraced: Bool
  /// Told of states, with the images finished.
  package var onState: (ReconstructionProgress, ReconstructionMethod, Double) -> Void
  /// Told what is being found before images are solved, with the images that are before these.
  package var onEstimate: (_ images: Double, _ words: String) -> Void

  package init(
    work: WorkObserver = WorkObserver(), isTraced: Bool = false,
    onState: @escaping (ReconstructionProgress, ReconstructionMethod, Double) -> Void = { _, _, _ in },
    onEstimate: @escaping (_ images: Double, _ words: String) -> Void = { _, _ in }
  ) {
    self.work = work
    self.isTraced = isTraced
    self.onState = onState
    self.onEstimate = onEstimate
  }

  /// For estimates of images that so many are before.
  func estimates(_ images: Int) -> EstimateWatch {
    EstimateWatch(
      isCancelled: work.isCancelled,
      onProgress: { onEstimate(Double(images), "\($1), \(fixed(100 * $0, 0)) %") })
  }

  /// What goes on, for a line.
  package static func words(_ state: ReconstructionProgress, _ method: ReconstructionMethod) -> String {
    var text = method.rawValue
    if let lambda = state.lambda { text += ", λ \(fixed(lambda, 3))" }
    if let t = state.t, t < 1 { text += ", t \(fixed(t, 2))" }
    if let objective = state.objective { text += ", objective \(fixed(objective, 1))" }
    return text
  }
}

/// What a method made of (some of) a chunk.
package struct SolvedChunk {
  package let method: ReconstructionMethod
  package let chunk: ReconstructionInput.Chunk
  package let results: [ReconstructionResult]
  /// Those of the results, `[n, h, w, c]`.
  package let images: Tensor<Double>
  package let records: [ReconstructionRecord]
  package let quality: PathQuality
  /// What looks like a mistake about them.
  package let advices: [Advice]
}
