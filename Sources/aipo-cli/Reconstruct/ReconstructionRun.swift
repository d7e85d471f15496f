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
}

/// Collects results as they come, writes them, and closes the run: also from the thread that watches for
/// signals, with what is finished.
final class ReconstructionRun<Scalar: KernelScalar>: Sendable {
  private struct State {
    var figures: [[ImageFigures]]
    var isFinished = false
  }

  private let methods: [ReconstructionMethod]
  private let settings: RunSettings
  private let common: CommonOptions
  private let writers: ReconstructionWriters<Scalar>
  private let state: Mutex<State>

  init(
    methods: [ReconstructionMethod], settings: RunSettings, writers: ReconstructionWriters<Scalar>,
    common: CommonOptions
  ) {
    self.methods = methods
    self.settings = settings
    self.common = common
    self.writers = writers
    state = Mutex(State(figures: methods.map { _ in [] }))
  }

  /// Takes the results of one method for (some of) a chunk.
  func add(
    _ results: [ReconstructionResult<Scalar>], of method: Int, chunk: ReconstructionInput.Chunk,
    quality: PathQuality
  ) throws {
    guard !results.isEmpty else { return }
    for result in results {
      guard let plan = result.trace.first?.theorem, [.notConvex, .theoremBound].contains(result.reason) else {
        continue
      }
      Console.error("aipo: warning: \(chunk.names[result.index]): \(result.reason.rawValue): \(plan)")
    }
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
      try writers.finish(settings: settings, methods: methods, figures: state.figures)
      try common.printJSON(json(state.figures))
      try common.print(ReconstructionTable.text(methods: methods, figures: state.figures))
      if let interrupted = Interrupt.status { return interrupted }
      let failed = state.figures.joined().filter { $0.objective == nil }
      guard let first = failed.first else { return .done }
      Console.error(
        "aipo: \(failed.count) of \(state.figures.joined().count) results aren't finite, the first of them "
          + "that of \(first.source) (\(first.reason))")
      return .noResult
    }
  }

  private func json(_ figures: [[ImageFigures]]) -> JSONValue {
    let objects = methods.indices.map { object(methods[$0], figures[$0]) }
    return objects.count == 1 ? objects[0] : .object([("results", .array(objects))])
  }

  private func object(_ method: ReconstructionMethod, _ figures: [ImageFigures]) -> JSONValue {
    .object([
      ("task", .string(settings.task)), ("method", .string(method.rawValue)),
      ("path", figures.first.map { .string($0.path) } ?? .null), ("prior", .string(settings.prior)),
      ("seed", .unsigned(settings.seed)), ("settings", .object(settings.solver + settings.provenance)),
      ("images", .array(figures.map(\.json))),
      (
        "mean",
        .object([
          ("psnr", .optional(mean(figures.map(\.psnr)))), ("ssim", .optional(mean(figures.map(\.ssim)))),
          ("psnrObserved", .optional(mean(figures.map(\.psnrObserved)))),
          ("rmse", .optional(mean(figures.map(\.rmse)))),
          ("objective", .optional(mean(figures.map(\.objective)))),
          ("evaluations", .optional(mean(figures.map { Double($0.evaluations) }))),
          ("seconds", .optional(mean(figures.map(\.seconds)))),
        ])
      ),
    ])
  }
}

/// The table at the end of a run.
enum ReconstructionTable {
  private static let longest = 100

  static func text(methods: [ReconstructionMethod], figures: [[ImageFigures]]) -> String {
    let header = ["PSNR", "SSIM", "objective", "evaluations", "seconds"]
    if methods.count > 1 {
      var table = TextTable(["mean of \(figures.map(\.count).min() ?? 0) images"] + header)
      let observed = mean(figures[0].map(\.psnrObserved))
      if observed != nil { table.add(["observed", number(observed, 2), "–", "–", "–", "–"]) }
      for (method, figures) in zip(methods, figures) {
        table.add([method.rawValue] + means(figures))
      }
      return table.text
    }
    var table = TextTable(["image", "observed"] + header + ["converged"])
    let all = figures[0]
    if all.count <= longest {
      for image in all {
        table.add([
          image.source, number(image.psnrObserved, 2), number(image.psnr, 2), number(image.ssim, 4),
          number(image.objective, 1), String(image.evaluations), fixed(image.seconds, 2),
          image.converged ? "yes" : "no",
        ])
      }
      if all.count > 1 { table.addRule() }
    }
    if all.count != 1 {
      table.add(
        ["mean of \(all.count)", number(mean(all.map(\.psnrObserved)), 2)] + means(all)
          + ["\(all.count { $0.converged })/\(all.count)"])
    }
    return table.text
  }

  private static func means(_ figures: [ImageFigures]) -> [String] {
    [
      number(mean(figures.map(\.psnr)), 2), number(mean(figures.map(\.ssim)), 4),
      number(mean(figures.map(\.objective)), 1),
      number(mean(figures.map { Double($0.evaluations) }), 0), number(mean(figures.map(\.seconds)), 2),
    ]
  }

  private static func number(_ value: Double?, _ digits: Int) -> String {
    value.map { fixed($0, digits) } ?? "–"
  }
}
