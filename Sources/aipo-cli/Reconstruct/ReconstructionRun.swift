import AIPO
import Synchronization

/// What a run was asked for, as it goes into JSON and report.
struct RunSettings: Sendable {
  var task: String
  /// The task in words.
  var title: String
  var prior: String
  var seed: UInt64
  /// What decided the results.
  var solver: [(String, JSONValue)]
  /// Version, kernels, model and command.
  var provenance: [(String, JSONValue)]
  /// Lines below the table.
  var remarks: [String] = []
}

/// Collects results as they come, writes them, and closes the run: also from the thread that watches for
/// signals, with what is finished.
final class ReconstructionRun<Scalar: KernelScalar>: Sendable {
  private struct State {
    var figures: [[ImageFigures]]
    var advices = AdviceList()
    var isFinished = false
  }

  private let methods: [ReconstructionMethod]
  /// Images that each method is asked for.
  private let total: Int
  private let settings: RunSettings
  private let common: CommonOptions
  private let writers: ReconstructionWriters<Scalar>
  private let state: Mutex<State>

  init(
    methods: [ReconstructionMethod], total: Int, settings: RunSettings,
    writers: ReconstructionWriters<Scalar>, common: CommonOptions
  ) {
    self.methods = methods
    self.total = total
    self.settings = settings
    self.common = common
    self.writers = writers
    state = Mutex(State(figures: methods.map { _ in [] }))
  }

  /// Takes what looks like mistakes, and prints what is new.
  func advise(_ advices: [Advice]) {
    common.warn(state.withLock { $0.isFinished ? [] : $0.advices.add(advices) })
  }

  /// Takes the results of one method for (some of) a chunk.
  func add(
    _ results: [ReconstructionResult<Scalar>], of method: Int, chunk: ReconstructionInput.Chunk,
    quality: PathQuality
  ) throws {
    guard !results.isEmpty else { return }
    let images = try stack(results)
    let figures = try ImageFigures.of(results, images: images, chunk: chunk)
    try state.withLock { state in
      guard !state.isFinished else { return }
      try writers.write(
        results, images: images, method: method, of: methods[method], chunk: chunk, figures: figures,
        quality: quality)
      state.figures[method] += figures
    }
  }

  /// Puts the files in their places, prints JSON or table, and gives the exit code.
  func finish() throws -> ExitStatus {
    try state.withLock { state in
      guard !state.isFinished else { return .done }
      state.isFinished = true
      try writers.finish(settings: settings, methods: methods, figures: state.figures, advices: state.advices)
      try common.printJSON(json(state.figures, state.advices))
      try common.print(
        ([ReconstructionTable.text(methods: methods, figures: state.figures)] + settings.remarks
          + interruption(state.figures))
          .joined(separator: "\n"))
      if let interrupted = Interrupt.status { return interrupted }
      let failed = state.figures.joined().filter { $0.objective == nil }
      guard let first = failed.first else { return .done }
      Console.error(
        "aipo: \(failed.count) of \(state.figures.joined().count) results aren't finite, the first of them "
          + "that of \(first.source) (\(first.reason.rawValue))")
      return .noResult
    }
  }

  /// Where an interruption ended the run; the same command begins anew.
  private func interruption(_ figures: [[ImageFigures]]) -> [String] {
    guard Interrupt.status != nil else { return [] }
    let done = methods.indices.map { "\(figures[$0].count) of \(total) images by \(methods[$0].rawValue)" }
    return [
      "Interrupted after \(done.joined(separator: ", ")), which are kept. The same command begins anew."
    ]
  }

  private func json(_ figures: [[ImageFigures]], _ advices: AdviceList) -> JSONValue {
    var last = [("warnings", JSONValue.warnings(advices))]
    if Interrupt.status != nil { last.append(("interrupted", .bool(true))) }
    let objects = methods.indices.map { members(methods[$0], figures[$0]) }
    return .object(
      objects.count == 1 ? objects[0] + last : [("results", .array(objects.map { .object($0) }))] + last)
  }

  private func members(_ method: ReconstructionMethod, _ figures: [ImageFigures]) -> [(String, JSONValue)] {
    [
      ("task", .string(settings.task)), ("method", .string(method.rawValue)),
      ("path", figures.first.map { .string($0.path) } ?? .null), ("prior", .string(settings.prior)),
      ("seed", .unsigned(settings.seed)), ("settings", .object(settings.solver + settings.provenance)),
      ("images", .array(figures.map(\.json))),
      (
        "mean",
        .object([
          ("psnr", .optional(mean(figures.map(\.psnr)))), ("ssim", .optional(mean(figures.map(\.ssim)))),
          ("psnrObserved", .optional(mean(figures.map(\.psnrObserved)))),
          ("ssimObserved", .optional(mean(figures.map(\.ssimObserved)))),
          ("rmse", .optional(mean(figures.map(\.rmse)))),
          ("objective", .optional(mean(figures.map(\.objective)))),
          ("evaluations", .optional(mean(figures.map { Double($0.evaluations) }))),
          ("seconds", .optional(mean(figures.map(\.seconds)))),
        ])
      ),
      (
        "standardError",
        .object([
          ("psnr", .optional(Estimate(figures.map(\.psnr))?.standardError)),
          ("ssim", .optional(Estimate(figures.map(\.ssim))?.standardError)),
          ("objective", .optional(Estimate(figures.map(\.objective))?.standardError)),
        ])
      ),
    ]
  }
}
