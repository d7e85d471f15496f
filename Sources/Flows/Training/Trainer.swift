import AIPOKernels
import AIPOPlatform

/// Maximum-likelihood training of a density, in a folder that holds its log and its checkpoint.
///
/// A run may be killed at any moment and resumed: it gives the same bytes as one that was never stopped.
/// Everything random is keyed by (seed, step), and the checkpoint holds the rest.
///
/// A step whose loss or gradient is not finite, or jumps, is not made: parameters and moments go back to
/// what they were before the last update, and the rate is lowered for a while.
public final class Trainer<Flow: TrainableFlow> {
  public typealias Scalar = Flow.Scalar

  /// How a run ended.
  public enum Outcome: Equatable, Sendable {
    /// All steps are made; the flow holds the averaged parameters.
    case finished
    /// Cancelled after so many steps; the checkpoint holds them.
    case cancelled(step: Int)
  }

  public let flow: Flow
  public let config: TrainingConfig
  /// Which images are trained on, and which are kept back for validation.
  public let split: TrainingSplit
  /// Steps made.
  public var step: Int { progress.step }
  /// Steps that were rolled back.
  public var rollbacks: Int { progress.rollbacks }
  /// The last measurement on the validation images.
  public var validation: Evaluation? { progress.validation }

  private let folder: String
  private var batches: TrainingBatches
  private let validationSet: TrainingImages?
  private let settings: [String: String]
  private var progress = TrainingProgress()
  private var current: OptimizerState<Scalar>
  /// The state before the last update, or nil where the last update was undone.
  private var previous: OptimizerState<Scalar>?
  /// Buffers that the next update is written to.
  private var spare: OptimizerState<Scalar>
  private var gradient: [Scalar]
  private var sum = TreeSum<Scalar>()
  /// What takes the gradients of shares side by side, one on each thread: `flow` alone, on all threads, where there are
  /// fewer shares than threads, or it has no lanes. Empty before the first step.
  private var lanes: [Flow] = []
  private let ranks: any Ranks
  /// Whether a rank was asked to stop when the last step was made.
  private var isStopping = false
  private let model: Safetensors?
  /// Of the first rank, which alone writes.
  private let log: TrainingLog?
  /// Kept up with the steps, if somebody asked for it.
  private let resumePoint: ResumePoint?

  public static func checkpointPath(in folder: String) -> String { folder + "/checkpoint.safetensors" }
  public static func logPath(in folder: String) -> String { folder + "/log.jsonl" }

  /// Starts a run in an existing folder, or takes it up at its checkpoint if there is one and `resume`.
  ///
  /// `settings` are further strings that a resumed run must have in common with its start (the flow's
  /// spec, …); the training's own are added. The caller sees to it that only one run uses the folder.
  /// `model` is put into every checkpoint, so that it can be read as one. `resumePoint` is kept up with the steps.
  ///
  /// With more `ranks` than one each takes its shares of every batch; all make the same steps, and the first one writes. They
  /// read the same checkpoint.
  ///
  /// Throws `TrainingError` for unfit data or other settings than the checkpoint's, `FileError` for files
  /// that can't be read or written, `RankError` where ranks have different data or settings, and what the flow throws.
  public init(
    flow: Flow, images: TrainingImages, config: TrainingConfig, folder: String, resume: Bool,
    settings: [String: String] = [:], model: Safetensors? = nil, resumePoint: ResumePoint? = nil,
    ranks: any Ranks = OneRank()
  ) throws {
    guard images.shape == flow.imageShape else {
      throw TrainingError.imageShape(found: "\(images.shape)", expected: "\(flow.imageShape)")
    }
    let split = try TrainingSplit(images: images, config: config)
    self.flow = flow
    self.config = config
    self.folder = folder
    self.split = split
    self.model = model
    self.ranks = ranks
    self.resumePoint = resumePoint
    validationSet = split.validation.isEmpty ? nil : images.subset(split.validation)
    batches = TrainingBatches(
      images: images, indices: split.training, size: config.batch, seed: config.seed,
      dequantization: config.dequantization, augmentation: config.augmentation, condition: flow.condition)
    var settings = settings
    for entry in config.decisiveEntries { settings[entry.key] = entry.value }
    settings["data"] = try images.fingerprint(ranks)
    self.settings = settings
    let path = Self.checkpointPath(in: folder)
    if resume, access(path, F_OK) == 0 {
      let checkpoint = try TrainingCheckpoint<Scalar>.load(
        path: path, into: flow, isAveraging: config.isAveraging, settings: settings)
      guard checkpoint.progress.step <= config.steps else {
        throw TrainingError.stepsMade(checkpoint.progress.step, asked: config.steps)
      }
      progress = checkpoint.progress
      if progress.step < config.steps { progress.takeBackEnd() }
      current = checkpoint.current
      previous = checkpoint.previous
      resumePoint?.noteSaved(step: progress.step)
    } else {
      let batch = try batches.initializationBatch(count: config.initializationImages) as TrainingBatch<Scalar>
      try flow.density(of: batch).initialize(from: batch.images)
      current = OptimizerState(parameters: flow.parameters, isAveraging: config.isAveraging)
    }
    spare = OptimizerState(parameters: current.parameters, isAveraging: config.isAveraging)
    gradient = Array(repeating: 0, count: current.parameters.count)
    try ranks.requireSame(
      settings.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
        + [
          ("steps", "\(config.steps)"), ("checkpoint", "one of step \(progress.step)"),
          ("start", Self.digest(current.parameters)),
        ])
    log = ranks.isFirst ? try TrainingLog(path: Self.logPath(in: folder), keep: progress.logBytes) : nil
    if progress.measuring { try logWindowIfDue() }
  }

  private static func digest(_ parameters: [Scalar]) -> String {
    parameters.withUnsafeBytes { bytes in
      var digest = SHA256()
      digest.update(bytes)
      return digest.hexDigest()
    }
  }

  /// Makes the remaining steps. Events are told in order on the caller's thread; `isCancelled` is asked
  /// between steps and between batches of a measurement, and a cancelled run leaves a checkpoint.
  ///
  /// Throws `diverged` after too many roll-backs in a row, `unusable`, `FileError` where the log or a checkpoint can't
  /// be written or images can't be read, and what the flow or `observe` throws; the last checkpoint stays good.
  public func run(
    observe: (TrainingEvent<Scalar>) throws -> Void = { _ in }, isCancelled: () -> Bool = { false }
  ) throws -> Outcome {
    while progress.step < config.steps || progress.measuring {
      do {
        // Ranks stop after the same step.
        if ranks.count > 1 ? isStopping : isCancelled() { throw CancellationError() }
        if progress.measuring {
          try measure(observe, ranks.count > 1 ? { false } : isCancelled)
        } else {
          try makeStep(observe, isCancelled)
        }
      } catch is CancellationError {
        try checkpoint(observe)
        return .cancelled(step: progress.step)
      }
      let last = progress.step == config.steps
      if !progress.measuring, progress.step % config.checkpointEvery == 0 || last { try checkpoint(observe) }
    }
    try takeResult()
    return .finished
  }

  /// Validation and samples after a step; a cancelled one is made again from its beginning.
  private func measure(
    _ observe: (TrainingEvent<Scalar>) throws -> Void, _ isCancelled: () -> Bool
  ) throws {
    let step = progress.step
    func isDue(_ every: Int) -> Bool { every > 0 && (step % every == 0 || step == config.steps) }
    try takeResult()
    var result: Evaluation?
    if let validationSet, isDue(config.validation.every) {
      result = try Evaluation.measure(
        flow, on: validationSet, dequantization: config.dequantization, seed: config.seed,
        batch: config.batch, ranks: ranks, isCancelled: isCancelled)
    }
    var sheet: Tensor<Scalar>?
    if isDue(config.samples.every), ranks.isFirst {
      sheet = try flow.sample(
        indices: 0..<config.samples.count, temperature: config.samples.temperature, seed: config.seed)
    }
    if let result {
      progress.validation = result
      try log?.append(
        "{\"step\":\(step),\"validationBitsPerDim\":\(JSONText.number(result.bitsPerDim)),"
          + "\"standardError\":\(result.standardError.map { JSONText.number($0) } ?? "null")}")
    }
    progress.measuring = false
    if let result { try observe(.validation(step: step, result)) }
    if let sheet { try observe(.samples(step: step, sheet, of: flow)) }
  }

  private func makeStep(
    _ observe: (TrainingEvent<Scalar>) throws -> Void, _ isCancelled: () -> Bool
  ) throws {
    let step = progress.step
    let (loss, norm, fault) = try lossAndGradient(step, isCancelled)
    progress.step += 1
    let event: TrainingEvent<Scalar>
    if let reason = fault ?? progress.fault(loss: loss, norm: norm, limits: config.guarding) {
      event = try rollBack(reason)
    } else {
      let rate = config.rate.rate(step: step, steps: config.steps) * progress.rateScale
      try update(norm: norm, rate: rate)
      progress.accept(loss: loss, norm: norm)
      event = .step(step + 1, of: config.steps, bitsPerDim: loss, gradientNorm: norm, rate: rate)
    }
    if progress.step == config.steps { progress.noteEnd(logBytes: (log?.byteCount ?? 0)) }
    try logWindowIfDue()
    progress.measuring = true
    try observe(event)
  }

  /// Bits/dim of a step's batch, the norm of the gradient, and why the parameters are unusable, if they are.
  private func lossAndGradient(
    _ step: Int, _ isCancelled: () -> Bool
  ) throws -> (loss: Double, norm: Double, fault: String?) {
    do {
      try flow.setParameters(current.parameters)
    } catch let error as FlowError {
      guard case .unusableParameters = error else { throw error }
      return (.nan, .nan, "\(error)")
    }
    resumePoint?.keep(state(), path: Self.checkpointPath(in: folder))
    let shares = min(config.shares, config.batch)
    func images(_ shares: Range<Int>, of count: Int) -> Range<Int> {
      config.batch * shares.lowerBound / count..<config.batch * shares.upperBound / count
    }
    let ownShares = ranks.share(of: shares)
    try prepareLanes(ownShares.count, images: images(ownShares.prefix(1), of: shares).count)
    var own: [Double] = []
    for first in stride(from: ownShares.lowerBound, to: ownShares.upperBound, by: lanes.count) {
      // One a lane.
      let now = first..<min(first + lanes.count, ownShares.upperBound)
      var parts = try now.map { share -> SharePart<Flow> in
        let batch = try batches.batch(
          step: step, part: images(share..<share + 1, of: shares), as: Scalar.self)
        return SharePart(batch: batch, gradient: sum.room(gradient.count))
      }
      try parts.withUnsafeMutableBufferPointer { parts in
        nonisolated(unsafe) let parts = parts
        try work(lanes) { k, lane in if k < parts.count { try parts[k].evaluate(lane, ofBatch: config.batch) }
        }
      }
      for (k, share) in now.enumerated() {
        own += parts[k].nats
        var leaf: [Scalar] = []
        swap(&leaf, &parts[k].gradient)
        sum.add(consume leaf, leaf: share, of: shares, pool: flow.pool)
      }
    }
    let nats = try gather(own, isCancelled) { images(ranks.share(of: shares, rank: $0), of: shares).count }
    try sum.finish(shares, over: ranks, into: &gradient)
    let mean = nats.reduce(0, +) / Double(nats.count)
    let loss = config.dequantization.bitsPerDim(logProb: -mean, dimensions: flow.imageShape.count)
    return (loss, euclideanNorm(gradient), nil)
  }

  /// Has the lanes hold the current parameters; makes them where there are none yet.
  private func prepareLanes(_ shares: Int, images: Int) throws {
    if lanes.isEmpty {
      let threads = flow.pool.threads
      lanes = try threads > 1 && shares >= threads ? flow.lanes(threads, images: images) ?? [flow] : [flow]
    } else if lanes[0] !== flow {
      try work(lanes) { [current] _, lane in try lane.setParameters(current.parameters) }
    }
  }

  /// Runs `body` on every lane: on a thread each, or where the flow is the only one here, on which it has them all.
  private func work(_ lanes: [Flow], _ body: (_ k: Int, _ lane: Flow) throws -> Void) throws {
    if lanes.count == 1 { return try body(0, lanes[0]) }
    try BLASThreads.single { try flow.pool.run(lanes.count) { k, _ in try body(k, lanes[k]) } }
  }

  /// The nats of all ranks' images in order, and on the way whether any rank is to stop.
  private func gather(
    _ nats: [Double], _ isCancelled: () -> Bool, count: (_ rank: Int) -> Int
  ) throws -> [Double] {
    guard ranks.count > 1 else { return nats }
    let counts = (0..<ranks.count).map { count($0) + 1 }
    let all = try ranks.gather(
      nats + [isCancelled() ? 1 : 0], counts: counts, placeholder: 0, patience: ranks.usualPatience)
    var (result, start) = ([Double](), 0)
    for count in counts {
      result += all[start..<start + count - 1]
      if all[start + count - 1] != 0 { isStopping = true }
      start += count
    }
    return result
  }

  private func update(norm: Double, rate: Double) throws {
    let updates = Double(current.updates)
    try spare.advance(
      from: current, gradient: gradient,
      scale: config.clip > 0 && norm > config.clip ? config.clip / norm : 1,
      rate: rate, averageDecay: min(config.averageDecay, (1 + updates) / (10 + updates)), adam: config.adam,
      pool: flow.pool)
    let old = previous ?? OptimizerState(parameters: current.parameters, isAveraging: config.isAveraging)
    previous = current
    current = spare
    spare = old
  }

  private func rollBack(_ reason: String) throws -> TrainingEvent<Scalar> {
    progress.reject(config.guarding)
    if let previous { current = previous }
    previous = nil
    try log?.append(
      "{\"step\":\(progress.step),\"rolledBack\":\(JSONText.quoted(reason)),"
        + "\"rateScale\":\(JSONText.number(progress.rateScale))}")
    if progress.failures >= config.guarding.attempts {
      throw TrainingError.diverged(step: progress.step, attempts: progress.failures, reason: reason)
    }
    return .rolledBack(step: progress.step, reason: reason, rateScale: progress.rateScale)
  }

  private func logWindowIfDue() throws {
    let isDue = progress.step % config.logEvery == 0 || progress.step == config.steps
    guard isDue, progress.windowSteps > 0 else { return }
    let n = Double(progress.windowSteps)
    let rate = config.rate.rate(step: progress.step - 1, steps: config.steps) * progress.rateScale
    try log?.append(
      "{\"step\":\(progress.step),\"bitsPerDim\":\(JSONText.number(progress.windowLoss / n)),"
        + "\"gradientNorm\":\(JSONText.number(progress.windowNorm / n)),\"rate\":\(JSONText.number(rate))}")
    progress.closeWindow()
  }

  /// Throws `unusable` where no density can be made of what is the result so far.
  private func takeResult() throws {
    do { try flow.setParameters(current.result) } catch let error as FlowError {
      guard case .unusableParameters = error else { throw error }
      throw TrainingError.unusable(step: progress.step, reason: "\(error)")
    }
  }

  /// Where the last update gave parameters that are unusable, which the next step undoes, the checkpoint before stays.
  private func checkpoint(_ observe: (TrainingEvent<Scalar>) throws -> Void) throws {
    do { try flow.setParameters(current.parameters) } catch let error as FlowError {
      guard case .unusableParameters = error else { throw error }
      return
    }
    guard ranks.isFirst else { return }
    try log?.sync()
    let state = state()
    resumePoint?.keep(state, path: Self.checkpointPath(in: folder))
    try state.save(path: Self.checkpointPath(in: folder))
    resumePoint?.noteSaved(step: progress.step)
    try observe(.checkpoint(step: progress.step))
  }

  /// Where a run goes on: the flow holds the current parameters.
  private func state() -> TrainingCheckpoint<Scalar> {
    progress.updates = current.updates
    progress.logBytes = (log?.byteCount ?? 0)
    return TrainingCheckpoint(
      progress: progress, settings: settings, flow: flow.namedTensors, current: current, previous: previous,
      model: model)
  }
}

/// Which images are trained on and which are kept back for validation.
public struct TrainingSplit: Sendable, Equatable {
  /// Indices into the images, ascending.
  public let training: [Int]
  public let validation: [Int]
  /// Whether the images are parts of pictures, those that are kept back among them.
  public let isOfParts: Bool

  init(training: [Int], validation: [Int]) {
    self.training = training
    self.validation = validation
    isOfParts = false
  }

  /// Draws the validation images by the seed. Throws `nothingToTrainOn`, `constantData`, `dequantization`, and `FileError` where
  /// images can't be read.
  public init(images: TrainingImages, config: TrainingConfig) throws {
    let kept = config.validation.images.count(of: images.count)
    guard images.count > kept else { throw TrainingError.nothingToTrainOn(images: images.count, kept: kept) }
    if let value = try images.constantValue() {
      throw TrainingError.constantData(value: value, images: images.count)
    }
    guard images.isReal == config.dequantization.isNone else {
      throw TrainingError.dequantization(bits: config.dequantization.bits)
    }
    isOfParts = images.partsKeptBack > 0
    if isOfParts {
      let trained = images.count - images.partsKeptBack
      (training, validation) = (Array(0..<trained), Array(trained..<images.count))
      return
    }
    let order = Array(0..<images.count).shuffled(seed: config.seed, index: .max)
    validation = order.prefix(kept).sorted()
    training = order.dropFirst(kept).sorted()
  }
}

/// A share of a step's batch, and what a density makes of it.
private struct SharePart<Flow: TrainableFlow> {
  let batch: TrainingBatch<Flow.Scalar>
  /// Of the mean over the whole batch.
  var gradient: [Flow.Scalar]
  /// One an image.
  var nats: [Double] = []

  mutating func evaluate(_ flow: Flow, ofBatch size: Int) throws {
    nats = try flow.density(of: batch).trainingGradient(batch.images, gradient: &gradient)
    guard nats.count < size else { return }
    let weight = Flow.Scalar(Double(nats.count) / Double(size))
    gradient.withUnsafeMutableBufferPointer { Memory($0).copy(from: Memory($0), times: weight) }
  }
}
