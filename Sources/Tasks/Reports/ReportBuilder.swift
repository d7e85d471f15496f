import AIPOImaging
import AIPOKernels
import AIPOProblems
import AIPOSolvers

/// Gathers the entries of a report as results come. The first images get a card each; the table of means
/// counts all.
struct ReportBuilder {
  private static let longest = 48
  private static let mostPoints = 200

  private var entries: [ReconstructionReport.Entry] = []
  private var places: [Int: Int] = [:]

  /// Adds the results of one method for a chunk.
  mutating func add(_ solved: SolvedChunk) throws {
    let chunk = solved.chunk
    for (result, record) in zip(solved.results, solved.records) {
      let k = result.index
      let place: Int
      if let known = places[chunk.offset + k] {
        place = known
      } else {
        guard entries.count < Self.longest else { continue }
        place = entries.count
        places[chunk.offset + k] = place
        entries.append(try Self.entry(k, chunk))
      }
      entries[place].results.append(
        ReconstructionReport.Result(
          method: solved.method.rawValue, record: record, image: try result.image.converted(to: Float.self),
          path: Self.path(result, psnr: solved.quality.psnr(image: k))))
    }
  }

  private static func entry(_ k: Int, _ chunk: ReconstructionInput.Chunk) throws -> ReconstructionReport.Entry
  {
    let shape = Array(chunk.observed.shape.dropFirst())
    var observed: Tensor<Float>?
    var note: String?
    switch chunk.masks {
    case .some(let masks):
      let values = zip(row(chunk.observed, k), masks[k]).map { $1 ? Float($0) : .nan }
      observed = try Tensor(shape: shape, elements: values)
    case nil:
      let y = chunk.problem.observations[k]
      let measured = chunk.measuredShape
      let map = chunk.problem.map(k)
      // What a colour filter array sees is shown in its colours, and what a scanner sees is no picture.
      if measured.count == 3, [1, 3].contains(measured[2]), !(map is ColourFilterArray), !(map is Tomography)
      {
        observed = try Tensor(shape: measured, elements: y.elements.map { Float($0) })
        if measured != shape {
          note = "\(measured[0])x\(measured[1]) pixels as measured; figures of A⁺y at the image's size"
        }
      } else {
        observed = try Tensor(shape: shape, elements: row(chunk.observed, k).map { Float($0) })
        if measured.count == 1 { note = "A⁺y of \(y.count) numbers" }
        if map is FourierSampling { note = "\(y.count / 2) samples of k-space, zeros for the others" }
        if let scan = map as? Tomography {
          note =
            "\(scan.geometry.beam == .parallel ? "filtered back projection" : "A⁺y") of \(measured[0]) angles, "
            + "\(measured[1]) detectors"
        }
      }
    }
    return ReconstructionReport.Entry(
      source: chunk.names[k],
      truth: try chunk.truth.map { try Tensor(shape: shape, elements: row($0, k).map { Float($0) }) },
      observed: observed, observedNote: note)
  }

  private static func row(_ images: Tensor<Double>, _ k: Int) -> [Double] {
    let size = images.rowLength
    return images.withUnsafeBufferPointer { Array($0[(k * size)..<((k + 1) * size)]) }
  }

  /// The states of a run with what happened at each, the steps of the last descent thinned to what a chart can show.
  private static func path(_ result: ReconstructionResult, psnr: [Double?])
    -> ReconstructionReport.Path?
  {
    let name: String? =
      switch result.path {
      case "prior": "t"
      case "lambda": "λ"
      case "noise", "curve": "s"
      case "smooth": "the prior’s noise level"
      default: nil
      }
    let states = result.trace
    guard states.count > 1 else { return nil }
    // The path ends where its own λ is solved at s = 1: at the first trial of λ, or with the run.
    let pathLambda = states.first { $0.s >= 1 }?.weights.lambda
    let pathEnd = states.firstIndex { $0.event == .lambda } ?? states.lastIndex { $0.event == .finished }
    func isOnPath(_ k: Int) -> Bool {
      if result.path == "smooth" { return states[k].noiseLevel > 0 }
      return switch states[k].event {
      case .start, .predicted, .solved, .unfinished, .failed: name != nil
      case .lambda: k == pathEnd && name != nil
      case .finished: k == pathEnd && name != nil && states[k].weights.lambda == pathLambda
      case .iterate: false
      }
    }
    let stride = (states.count + mostPoints - 1) / mostPoints
    let points = states.indices.filter { states[$0].event != .iterate || $0 % stride == 0 }.map { k in
      let state = states[k]
      return ReconstructionReport.PathPoint(
        event: state.event, isOnPath: isOnPath(k), evaluations: state.evaluations,
        parameter: result.path == "smooth"
          ? state.noiseLevel : name == "t" ? state.weights.t : name == "s" ? state.s : state.weights.lambda,
        lambda: state.weights.lambda, objective: state.objective, recon: state.recon,
        // On the way R_s is that of another prior than the target's.
        reg: state.noiseLevel > 0 ? nil : result.targetReg(at: state),
        psnr: psnr.indices.contains(k) ? psnr[k] : nil)
    }
    return ReconstructionReport.Path(parameterName: name, points: points)
  }

  func report(
    settings: RunSettings, methods: [ReconstructionMethod], records figures: [[ReconstructionRecord]],
    advices: AdviceList
  ) -> ReconstructionReport {
    typealias Row = ReconstructionReport.SummaryRow
    let isKnown = figures[0].contains { $0.psnrObserved != nil }
    let rows =
      (isKnown ? [Row(observed: figures[0])] : [])
      + zip(methods, figures).map { Row(method: $0.rawValue, records: $1) }
    let total = figures.map(\.count).max() ?? 0
    let shown = entries.count < total ? " The first \(entries.count) are shown; the means count all." : ""
    return ReconstructionReport(
      head: ReportHead(
        title: "Images brought back with a learned prior",
        subtitle: "\(total) image\(total == 1 ? "" : "s"), reconstructed from what was measured. The prior "
          + "\(settings.provenance.model) was learned from images of one kind and says how plausible an image is.\(shown)",
        command: settings.provenance.command,
        // The command has a place of its own.
        provenance: JSONValue(encoding: settings.provenance).members.filter { $0.0 != "command" }
          .map { ReportHead.Field($0, $1.text) },
        warnings: advices.lines),
      title: settings.title, caption: Self.caption(settings, figures),
      methodNotes: zip(methods, figures).map {
        ReportHead.Field($0.rawValue, Self.note($0, path: $1.first?.path))
      },
      settings: settings.solver.map { ReportHead.Field($0, $1.text) }, entries: entries, rows: rows)
  }

  /// What a method does.
  private static func note(_ method: ReconstructionMethod, path: String?) -> String {
    switch method {
    case .gaussian:
      "The likeliest image where the prior is a Gaussian fitted to the training images: a formula, no search."
    case .latent: "Descends over latents, without the log-determinant. Its objective is that of fixed."
    case .restarts: "The lowest of several descents as fixed, each from a draw of the prior."
    case .tv:
      "Least squares with total variation: no learned prior. Its objective is that of fixed at its result."
    case .lasso:
      "Least squares with a sparse cosine transform: no learned prior. Its objective is that of fixed at its result."
    case .fixed: "Descends on the objective as it is asked, with its final weights from the start."
    case .aipo:
      switch path {
      case "lambda": "Follows the solution along λ, from the data alone to the weight asked for."
      case "prior": "Follows the solution along t, from the Gaussian prior (t = 0) to the flow (t = 1)."
      case "curve":
        "Follows the solution along a curve through λ and t, from the Gaussian prior (t = 0) to the flow (t = 1), to the "
          + "λ asked for (s: 0 to 1)."
      case "smooth":
        "Follows the prior’s own noise level down, from where nearly all is Gaussian to where the data’s noise hides the "
          + "rest: at each, the mean of the images that the prior finds likely, then as near to the data as they ask."
      case "theorem": "Follows the solution along λ by the steps that the theorem asks for."
      default:
        "Follows the solution from an easy problem to the one asked (s: 0 to 1): from the Gaussian prior at a larger λ, "
          + "as if the noise were stronger, with the flow to the λ asked for."
      }
    }
  }

  /// Where λ and the prior's parts come from.
  private static func caption(_ settings: RunSettings, _ figures: [[ReconstructionRecord]]) -> String {
    var sentences: [String] = []
    let lambdas = Set(figures.joined().filter { $0.reason != .closedForm }.map(\.lambda))
    let isAuto = settings.solver.contains { $0.0 == "lambda" && $0.1.text == "auto" }
    if isAuto, !lambdas.isEmpty, lambdas != [1] {
      sentences.append("The prior’s weight λ was chosen image by image, without the truth.")
    }
    if let share = figures.joined().first?.flowShare, share < 1 {
      sentences.append(
        "The flow has the share t = \(share) of the prior, a Gaussian the rest: that is what was minimised and what the "
          + "curves show. Objective and L reg in the tables are the flow’s alone.")
    }
    return sentences.joined(separator: " ")
  }
}
