import AIPOImaging
import AIPOKernels
import AIPOProblems
import AIPOSolvers
import Synchronization

/// What a run was asked for, as it goes into JSON and report.
struct RunSettings: Sendable {
  var task: String
  /// The task in words.
  var title: String
  /// What decided the results.
  var solver: [(String, JSONValue)]
  var provenance: Provenance
  /// The images that the prior was chosen for, where none was named.
  var priorChosenFor: String?
  /// Lines below the table.
  var remarks: [String] = []

  init(_ reconstruction: Reconstruction, command: String) {
    let (task, input) = (reconstruction.task, reconstruction.input)
    self.task = task.kind?.rawValue ?? ""
    solver = task.settings
    if let checksum = input.noise.checksum { solver.append(("noiseChecksum", .string(checksum))) }
    priorChosenFor = reconstruction.model.chosenFor.map { "\($0)" }
    provenance = Provenance(model: reconstruction.model.source, seed: task.seed, command: command)
    title =
      switch task.kind {
      case .denoise, nil: "Denoising"
      case .sense: "Compressed sensing, \(input.measurements ?? 0) of \(input.shape.count)"
      case .inpaint: "Inpainting, \(task.mask?.words ?? "")"
      case .deblur: "Deblurring, \(task.kernel?.description ?? "")"
      case .superresolve: "Super-resolution ×\(task.scale ?? 2), \(task.kernel?.description ?? "bicubic")"
      case .demosaic: "Demosaicing, \(task.pattern?.description ?? "RGGB")"
      case .ct:
        "Tomography, \(input.rowShape.map(String.init).prefix(2).joined(separator: " angles, ")) detectors"
      case .mri: "Magnetic resonance, \((input.measurements ?? 0) / 2) complex samples"
      case .phase: "Phase retrieval, \(input.measurements ?? 0) intensities"
      case .unmix: "Unmixing of \(task.mixing?.description ?? "grey")"
      }
    title += input.noise.words
    if let hidden = input.hiddenShare {
      solver.append(("hidden", .number(hidden)))
      remarks.append("The mask hides \(FigureText.number(100 * hidden, 1)) % of the values.")
    }
  }
}

/// Where a run's results go; all is optional.
public struct ReconstructionFiles: Sendable {
  /// The images of each method, in the format of the suffix (`ImageOutputFormat`).
  public var images: [String] = []
  /// Of a TIFF's values.
  public var depth = PixelDepth.float
  /// A page with everything.
  public var report: String?
  /// The pictures alone, a PNG.
  public var sheet: String?
  public var isSheetLabelled = true
  /// The states of every path, a JSON line each.
  public var trace: String?
  /// What was observed, `.npy` or `.npz`.
  public var observation: String?

  public init() {}

  /// Whether it needs images whole: those that ranks share row by row can only be written as images.
  public var needWholeImages: Bool { report != nil || sheet != nil || observation != nil }

  /// Puts the images of each method under a name, with the method in it where there are several.
  package mutating func setImages(_ path: String?, of methods: [ReconstructionMethod]) {
    images =
      path.map { path in
        methods.count > 1 ? methods.map { ImageOutputFormat.adding("-\($0.rawValue)", to: path) } : [path]
      } ?? []
  }

  /// Throws a usage error where a name says none of its formats, or two are one file.
  package func check() throws(TaskError) {
    for path in images { try OutputFiles.require(path, ImageOutputFormat.allCases, key: "out") }
    if depth != .float, images.isEmpty || ImageOutputFormat(path: images[0]) != .tiff {
      throw TaskError(.usage, key: "depth", "--depth is of a .tif in --out")
    }
    try OutputFiles.require(sheet, [.png], key: "sheet")
    try OutputFiles.require(observation, [.array], key: "save-observation")
    try OutputFiles.requireDistinct(named)
  }

  /// Every file that is written, by the flag that names it.
  package var named: [(key: String, path: String)] {
    let others = [
      ("report", report), ("sheet", sheet), ("trace", trace), ("save-observation", observation),
    ]
    return images.map { ("out", $0) } + others.compactMap { key, path in path.map { (key, $0) } }
  }

  /// Whether no picture of the results is kept.
  var isEmpty: Bool { images.isEmpty && report == nil && sheet == nil }
}

/// A reconstruction that is written to files as it comes, and closed: also from another thread, with what is finished.
package final class ReconstructionRun: Sendable {
  private struct State {
    var records: [[ReconstructionRecord]]
    var advices = AdviceList()
    var isFinished = false
  }

  private let methods: [ReconstructionMethod]
  /// Images that each method is asked for.
  private let total: Int
  private let settings: RunSettings
  private let writers: ReconstructionWriters
  private let state: Mutex<State>

  /// - Parameter command: what makes the same again.
  package init(_ reconstruction: Reconstruction, files: ReconstructionFiles, command: String) throws {
    methods = reconstruction.task.methods
    total = reconstruction.count
    var settings = RunSettings(reconstruction, command: command)
    if files.isEmpty {
      settings.remarks.append(
        "Nothing was kept: --out result.png keeps the images, --report report.html shows them.")
    }
    self.settings = settings
    writers = try ReconstructionWriters(
      files, reconstruction.input, precision: reconstruction.model.precision, strips: reconstruction.strips)
    state = Mutex(State(records: methods.map { _ in [] }))
  }

  /// Takes what looks like mistakes, and gives the lines that are new.
  package func advise(_ advices: [Advice]) -> [String] {
    state.withLock { $0.isFinished ? [] : $0.advices.add(advices) }
  }

  /// Takes the results of one method for (some of) a chunk.
  package func add(_ solved: SolvedChunk) throws {
    guard let method = methods.firstIndex(of: solved.method) else { return }
    try state.withLock { state in
      guard !state.isFinished else { return }
      try writers.write(solved, method: method)
      state.records[method] += solved.records
    }
  }

  /// What a run comes to.
  package struct Outcome {
    package let json: JSONValue
    package let text: String
    /// That some results aren't finite; nil where all are.
    package let failure: String?
  }

  /// Puts the files in their places, and hands on what the run comes to while nothing else of it can go on; nil where
  /// that is done.
  package func finish<Result>(isInterrupted: Bool, _ tell: (Outcome) throws -> Result) throws -> Result? {
    try state.withLock { state in
      guard !state.isFinished else { return nil }
      state.isFinished = true
      try writers.finish(settings: settings, methods: methods, records: state.records, advices: state.advices)
      let failed = state.records.joined().filter { $0.objective == nil }
      let text =
        [ReconstructionTable.text(methods: methods, records: state.records)] + settings.remarks
        + (isInterrupted ? [interruption(state.records)] : [])
      return try tell(
        Outcome(
          json: json(state.records, state.advices, isInterrupted: isInterrupted),
          text: text.joined(separator: "\n"),
          failure: failed.first.map {
            "\(failed.count) of \(state.records.joined().count) results aren't finite, the first of them "
              + "that of \($0.source) (\($0.reason.rawValue))"
          }))
    }
  }

  /// Where an interruption ended the run; the same command begins anew.
  private func interruption(_ records: [[ReconstructionRecord]]) -> String {
    let done = methods.indices.map { "\(records[$0].count) of \(total) images by \(methods[$0].rawValue)" }
    return "Interrupted after \(done.joined(separator: ", ")), which are kept. The same command begins anew."
  }

  private func json(_ records: [[ReconstructionRecord]], _ advices: AdviceList, isInterrupted: Bool)
    -> JSONValue
  {
    let objects = zip(methods, records).map(json)
    let results: JSONValue = objects.count == 1 ? objects[0] : ["results": .array(objects)]
    return results.adding(["warnings": .warnings(advices)]).adding(
      isInterrupted ? ["interrupted": .bool(true)] : .null)
  }

  private func json(_ method: ReconstructionMethod, _ records: [ReconstructionRecord]) -> JSONValue {
    func estimate(_ value: (ReconstructionRecord) -> Double?) -> Estimate? { Estimate(records.map(value)) }
    let means: [(String, Estimate?)] = [
      ("psnr", estimate(\.psnr)), ("ssim", estimate(\.ssim)), ("psnrObserved", estimate(\.psnrObserved)),
      ("ssimObserved", estimate(\.ssimObserved)), ("rmse", estimate(\.rmse)),
      ("objective", estimate(\.objective)),
      ("evaluations", estimate { Double($0.evaluations) }), ("seconds", estimate(\.seconds)),
    ]
    return [
      "task": .string(settings.task), "method": .string(method.rawValue),
      "path": records.first.map { .string($0.path) } ?? .null, "prior": .string(settings.provenance.model),
      "priorChosenFor": settings.priorChosenFor.map { .string($0) } ?? .null,
      "seed": .unsigned(settings.provenance.seed),
      "settings": .object(settings.solver + JSONValue(encoding: settings.provenance).members),
      "images": .array(records.map { JSONValue(encoding: $0) }),
      "mean": .object(means.map { ($0, .optional($1?.mean)) }),
      "standardError": .object(
        means.filter { ["psnr", "ssim", "objective"].contains($0.0) }.map {
          ($0, .optional($1?.standardError))
        }),
    ]
  }
}
