import AIPOImaging
import AIPOKernels
import AIPOPriors
import AIPOProblems
import AIPOSolvers

/// One image's posterior.
public struct SampledImage: Sendable {
  /// In its source.
  public let index: Int
  public let record: PosteriorRecord
  public let summary: PosteriorSummary
  public let draws: PosteriorDraws
  /// The heaviest first; one where no valley parts the draws.
  public let modes: [PosteriorMode]
  /// `[h, w, c]`, where it is known.
  public let truth: Tensor<Double>?
  /// The observation as an image; hidden pixels are NaN.
  public let observed: Tensor<Double>
  /// What should be looked at before the draws are trusted.
  public let advices: [Advice]
}

/// The images of a task whose posteriors are sampled, one after the other.
public struct PosteriorSampling {
  public let task: PosteriorTask
  let reconstruction: Reconstruction
  private var folder: PosteriorStateFolder?

  /// Checks the task, and opens what it names; see `Reconstruction`.
  public init(
    _ task: PosteriorTask, model: ReconstructionModel? = nil, images: ImageSet? = nil,
    threads: Int = ThreadPool.availableCores
  ) throws {
    reconstruction = try Reconstruction(task.problem, model: model, images: images, threads: threads)
    var task = task
    task.problem = reconstruction.task
    self.task = task
  }

  /// Keeps how far it is in a folder, and goes on from what is kept there.
  public mutating func keepState(in folder: String) throws(FileError) {
    self.folder = try PosteriorStateFolder(folder, self)
  }

  public var model: ReconstructionModel { reconstruction.model }
  public var count: Int { reconstruction.count }
  public var advices: [Advice] { reconstruction.advices }

  /// Samples all images.
  public func run(observer: WorkObserver = WorkObserver()) throws -> [SampledImage] {
    var images: [SampledImage] = []
    try run(observer: observer) { images.append($0) }
    return images
  }

  /// Samples image after image; those that an interruption cut short are left out.
  package func run(
    observer: WorkObserver, onProgress: @escaping (_ images: Double, _ words: String) -> Void = { _, _ in },
    advise: ([Advice]) -> Void = { _ in }, take: (SampledImage) throws -> Void
  ) throws {
    for place in 0..<count where !observer.isCancelled() {
      guard let chunk = try reconstruction.chunk(place..<place + 1, watch: watch(place, observer, onProgress))
      else { return }
      advise(chunk.advices)
      do {
        try take(
          try sample(chunk, observer) { progress in
            let images = Double(place) + Double(progress.draws) / Double(progress.total)
            onProgress(images, Self.words(progress))
            observer.onProgress(images)
          })
      } catch is SamplingCancelled { return }
    }
  }

  /// Samples the own images, which the folder keeps; `run` then gives all of them. A run of particles keeps nothing, and is made
  /// anew there.
  package mutating func sample(
    _ work: SharedWork, observer: WorkObserver,
    onProgress: @escaping (_ images: Double, _ words: String) -> Void = { _, _ in },
    advise: ([Advice]) -> Void = { _ in }
  ) throws -> SharedWork.Outcome {
    let folder = try PosteriorStateFolder(work.folder, self)
    self.folder = folder
    try work.ranks.requireSame([("program", try AIPOVersion.build()), ("task", folder.words)])
    let sampling = self
    func sampleOwn(_ own: [Int]) throws {
      for place in own where !observer.isCancelled() {
        let watch = sampling.watch(place, observer, onProgress)
        guard let chunk = try sampling.reconstruction.chunk(place..<place + 1, watch: watch) else { return }
        do {
          let image = try sampling.sample(chunk, observer) { progress in
            onProgress(Double(place) + Double(progress.draws) / Double(progress.total), Self.words(progress))
          }
          advise(chunk.advices + image.advices)
        } catch is SamplingCancelled { return }
      }
    }
    let outcome = try work.run(
      count, holds: { _ in false }, isCancelled: observer.isCancelled, sampleOwn)
    if case .first = outcome, !task.sampling.sampler.isParticles {
      for place in 0..<count {
        try folder.requireImage(reconstruction.input.chunk(place..<place + 1).indices[0])
      }
    }
    return outcome
  }

  private func watch(
    _ place: Int, _ observer: WorkObserver,
    _ onProgress: @escaping (_ images: Double, _ words: String) -> Void
  ) -> EstimateWatch {
    EstimateWatch(
      isCancelled: observer.isCancelled,
      onProgress: { onProgress(Double(place), "\($1), \(fixed(100 * $0, 0)) %") })
  }

  /// What goes on, for a line.
  private static func words(_ progress: PosteriorSampler.Progress) -> String {
    "draw \(progress.draws) of \(progress.total), accepted \(fixed(progress.acceptance, 2))"
      + (progress.essSoFar.map { ", ESS \(fixed($0, 0))" } ?? "")
  }

  private func sample(
    _ chunk: ReconstructionInput.Chunk, _ observer: WorkObserver,
    onProgress: (PosteriorSampler.Progress) -> Void
  ) throws -> SampledImage {
    let shape = chunk.problem.imageShape
    var options = task.options
    if let lambda = chunk.lambda { options.lambda = lambda }
    let sampler = try PosteriorSampler(
      data: chunk.problem.dataTerm(0, encoding: reconstruction.prior.encoding), prior: reconstruction.prior,
      gaussian: try reconstruction.gaussian, options: options, source: UInt64(chunk.indices[0]),
      pool: model.pool)
    let (index, y) = (chunk.indices[0], chunk.problem.observations[0])
    let state = try folder?.read(index, empty: sampler.noDraws(), observation: y)
    let outcome: PosteriorSampler.Outcome
    do {
      outcome = try sampler.run(from: state, isCancelled: observer.isCancelled, onProgress: onProgress)
      if let state = outcome.state { try folder?.write(state, index, observation: y) }
    } catch let cancelled as SamplingCancelled {
      if let state = cancelled.state { try folder?.write(state, index, observation: y) }
      throw cancelled
    }
    let summary = try PosteriorSummary(
      outcome.draws, probabilities: task.options.probabilities, level: task.options.level)
    // Of particles modes keep their weights even where runs disagree; chains that do don't go from one to the other.
    let isParticles = outcome.logEvidences != nil
    let modes = try outcome.draws.modes(
      logWeights: outcome.logEvidences, areWeighed: isParticles || summary.disagreement == nil)
    let dimensions = [shape.height, shape.width, shape.channels]
    let truth = try chunk.truth.map { try $0.row(0).tensor(shape: dimensions) }
    var observed = try chunk.observed.row(0).tensor(shape: dimensions)
    if let mask = chunk.masks?.first {
      for i in 0..<mask.count where !mask[i] { observed[flat: i] = .nan }
    }
    let record = try PosteriorRecord(
      source: chunk.names[0], sampler: sampler, outcome: outcome, summary: summary, modes: modes,
      truth: truth,
      observed: observed)
    return SampledImage(
      index: chunk.indices[0], record: record, summary: summary, draws: outcome.draws, modes: modes,
      truth: truth,
      observed: observed, advices: advices(record))
  }

  private func advices(_ record: PosteriorRecord) -> [Advice] {
    var advices: [Advice] = []
    if let reason = record.disagreement {
      advices.append(
        Advice(
          "disagreement", of: record.source,
          "the chains disagree: \(reason). Means and deviations may be wrong; more --draws, a longer --warmup or --sampler "
            + "smc may help"))
    }
    if record.divergences > 0 {
      advices.append(
        Advice(
          "divergences", of: record.source,
          "\(counted(record.divergences, "path")) left the region in which steps can be trusted: a longer --warmup may help"
        ))
    }
    if let fraction = record.energyFraction, fraction < 0.3 {
      advices.append(
        Advice(
          "energy", of: record.source,
          "the energy fraction is \(Advice.number(fraction)), expected 0.3 or more: the chains go through the levels of the "
            + "density too slowly; more --draws may help"))
    }
    if !reconstruction.prior.isNormalized {
      advices.append(
        Advice(
          "patches",
          "this prior is an average over patches or a margin, no density of the whole image: what was sampled is in "
            + "proportion to its exponential, and isn't calibrated"))
    }
    return advices
  }
}
