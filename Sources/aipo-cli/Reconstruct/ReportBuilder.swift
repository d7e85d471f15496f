import AIPO

/// Gathers the entries of a report as results come. The first images get a card each; the table of means
/// counts all.
struct ReportBuilder {
  private static let longest = 48
  private static let mostPoints = 200

  private var entries: [ReconstructionReport.Entry] = []
  private var places: [Int: Int] = [:]

  /// Adds the results of one method for a chunk.
  mutating func add<Scalar: KernelScalar>(
    _ results: [ReconstructionResult<Scalar>], method: ReconstructionMethod, chunk: ReconstructionInput.Chunk,
    figures: [ImageFigures], quality: PathQuality
  ) throws {
    for (result, figures) in zip(results, figures) {
      let k = result.index
      let place: Int
      if let known = places[chunk.offset + k] {
        place = known
      } else {
        guard entries.count < Self.longest else { continue }
        place = entries.count
        places[chunk.offset + k] = place
        entries.append(try Self.entry(k, chunk, figures))
      }
      entries[place].results.append(
        ReconstructionReport.Result(
          method: method.rawValue, image: try result.image.converted(to: Float.self), psnr: figures.psnr,
          ssim: figures.ssim, objective: figures.objective, recon: figures.recon, reg: figures.reg,
          lambda: figures.lambda, evaluations: figures.evaluations, converged: figures.converged,
          reason: Self.words(result.reason), path: Self.path(result, psnr: quality.psnr(image: k))))
    }
  }

  private static func entry(_ k: Int, _ chunk: ReconstructionInput.Chunk, _ figures: ImageFigures) throws
    -> ReconstructionReport.Entry
  {
    let shape = Array(chunk.observed.shape.dropFirst())
    var observed: Tensor<Float>?
    var note: String?
    switch chunk.masks {
    case .some(let masks):
      let values = zip(row(chunk.observed, k), masks[k]).map { $1 ? Float($0) : .nan }
      observed = try Tensor(shape: shape, elements: values)
    case nil:
      observed = try Tensor(shape: shape, elements: row(chunk.observed, k).map { Float($0) })
      if !chunk.isPicture { note = "A⁺y of \(chunk.problem.observations[k].count) numbers" }
    }
    return ReconstructionReport.Entry(
      source: chunk.names[k],
      truth: try chunk.truth.map { try Tensor(shape: shape, elements: row($0, k).map { Float($0) }) },
      observed: observed, observedNote: note, psnrObserved: figures.psnrObserved, results: [])
  }

  private static func row(_ images: Tensor<Double>, _ k: Int) -> [Double] {
    let size = images.rowCount
    return images.withUnsafeBufferPointer { Array($0[(k * size)..<((k + 1) * size)]) }
  }

  /// The states of a run at which the target's prior is known, thinned to what a chart can show.
  private static func path<Scalar>(_ result: ReconstructionResult<Scalar>, psnr: [Double?])
    -> ReconstructionReport.Path?
  {
    let name: String? =
      switch result.path {
      case "prior": "t"
      case "lambda": "λ"
      case "noise", "curve": "s"
      default: nil
      }
    let states = result.trace.enumerated().compactMap { k, state in
      state.event == .failed ? nil : result.targetReg(at: state).map { (offset: k, element: state, reg: $0) }
    }
    guard states.count > 1 else { return nil }
    // The path ends where its own λ is solved at s = 1: at the first trial of λ, or with the run.
    let pathLambda = result.trace.first { $0.s >= 1 }?.weights.lambda
    let end = states.last { $0.element.event == .finished }.map(\.offset)
    let pathEnd = states.first { $0.element.event == .lambda }.map(\.offset) ?? end
    func stages(_ k: Int, _ state: PathState) -> [ReconstructionReport.PathPoint.Stage] {
      switch state.event {
      case .start, .solved, .unfinished: name == nil ? [.descent] : [.path]
      case .lambda: k == pathEnd && name != nil ? [.path, .trial] : [.trial]
      case .finished: k == pathEnd && name != nil && state.weights.lambda == pathLambda ? [.path] : [.descent]
      case .iterate, .failed: [.descent]
      }
    }
    let stride = (states.count + mostPoints - 1) / mostPoints
    var points: [ReconstructionReport.PathPoint] = []
    for (place, (k, state, reg)) in states.enumerated() {
      let stages = stages(k, state)
      guard place % stride == 0 || place == states.count - 1 || stages != [.descent] else { continue }
      points += stages.map {
        ReconstructionReport.PathPoint(
          stage: $0, evaluations: state.evaluations,
          parameter: name == "t" ? state.weights.t : name == "s" ? state.s : state.weights.lambda,
          lambda: state.weights.lambda,
          objective: state.objective, recon: state.recon, reg: reg,
          psnr: psnr.indices.contains(k) ? psnr[k] : nil)
      }
    }
    return ReconstructionReport.Path(parameterName: name, points: points)
  }

  /// Why a run ended, for a reader.
  private static func words(_ reason: PathStop) -> String {
    switch reason {
    case .gradient: "the gradient fell below the tolerance"
    case .objective: "further steps no longer changed the objective"
    case .resolution: "no lower objective can be told apart at this precision"
    case .closedForm: "computed in closed form"
    case .iterations: "the limit of its iterations was reached"
    case .lineSearch: "the line search found no lower objective"
    case .budget: "the budget of evaluations was used up while it still descended"
    case .smallestStep: "the path could not go on at its smallest step"
    case .noFiniteStart: "the prior has no finite density at the start"
    case .cancelled: "it was interrupted"
    case .notConvex: "the objective isn’t strongly convex along the path, as the theorem needs"
    case .theoremBound: "the theorem asks for more evaluations than there may be"
    }
  }

  func report(settings: RunSettings, methods: [ReconstructionMethod], figures: [[ImageFigures]])
    -> ReconstructionReport
  {
    var rows: [ReconstructionReport.SummaryRow] = []
    if let observed = mean(figures[0].map(\.psnrObserved)) {
      rows.append(ReconstructionReport.SummaryRow(method: "observed", psnr: observed))
    }
    for (method, figures) in zip(methods, figures) {
      rows.append(
        ReconstructionReport.SummaryRow(
          method: method.rawValue, psnr: mean(figures.map(\.psnr)), ssim: mean(figures.map(\.ssim)),
          objective: mean(figures.map(\.objective)),
          evaluations: mean(figures.map { Double($0.evaluations) }),
          lambdas: ReconstructionReport.SummaryRow.range(figures.map(\.lambda))))
    }
    let total = figures.map(\.count).max() ?? 0
    let shown = entries.count < total ? " The first \(entries.count) are shown; the means count all." : ""
    return ReconstructionReport(
      ReportHead(
        title: "Reconstruction with a flow prior",
        subtitle: "\(total) image\(total == 1 ? "" : "s"), prior \(settings.prior).\(shown)",
        command: Provenance.command,
        // The command has a place of its own.
        provenance: settings.provenance.filter { $0.0 != "command" }.map { ReportHead.Field($0, $1.text) }),
      sections: [
        ReconstructionReport.Section(
          title: settings.title, caption: Self.caption(settings, methods, figures),
          settings: settings.solver.map { ReportHead.Field($0, $1.text) }, entries: entries,
          summary: rows)
      ])
  }

  /// What the methods are, and where λ comes from.
  private static func caption(
    _ settings: RunSettings, _ methods: [ReconstructionMethod], _ figures: [[ImageFigures]]
  ) -> String {
    var sentences = zip(methods, figures).map { method, figures in
      switch method {
      case .gaussian: "gaussian: the closed form under a Gaussian fitted to the training images."
      case .latent:
        "latent: descent over latents without the log-determinant; its objective is that of fixed."
      case .restarts: "restarts: the lowest of several descents as fixed, from draws."
      case .tv: "tv: least squares with total variation; its objective is that of fixed at its result."
      case .lasso:
        "lasso: least squares with a sparse cosine transform; its objective is that of fixed at its result."
      case .fixed: "fixed: descent on the objective at its final weights from the start."
      case .aipo:
        switch figures.first?.path {
        case "lambda": "aipo: follows the solution along λ, from the data alone to the weight asked for."
        case "prior":
          "aipo: follows the solution along t, from the Gaussian prior (t = 0) to the flow (t = 1)."
        case "curve":
          "aipo: follows the solution along a curve through λ and t, from the Gaussian prior (t = 0) to the flow "
            + "(t = 1), to the λ asked for (s: 0 to 1)."
        case "theorem": "aipo: follows the solution along λ by the steps that the theorem asks for."
        default:
          "aipo: starts from the Gaussian prior’s solution at a larger λ, as if the noise were stronger, and "
            + "follows it with the flow to the λ asked for (s: 0 to 1)."
        }
      }
    }
    let lambdas = Set(figures.joined().filter { $0.reason != PathStop.closedForm.rawValue }.map(\.lambda))
    let isAuto = settings.solver.contains { $0.0 == "lambda" && $0.1.text == "auto" }
    if isAuto, !lambdas.isEmpty, lambdas != [1] {
      sentences.append("The prior’s weight λ was chosen image by image without the truth.")
    }
    if let share = figures.joined().first?.flowShare, share < 1 {
      sentences.append(
        "What is minimised has t of the flow’s −log p and 1 − t of the Gaussian’s as its prior, t = \(share), and so has "
          + "every curve; the objective and L reg in the tables are the flow’s in full.")
    }
    return sentences.joined(separator: " ")
  }
}
