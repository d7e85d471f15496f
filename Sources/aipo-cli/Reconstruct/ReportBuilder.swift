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
          reason: figures.reason, path: Self.path(result, psnr: quality.psnr(image: k))))
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
      if chunk.isPicture {
        observed = try Tensor(shape: shape, elements: row(chunk.observed, k).map { Float($0) })
      } else {
        note = "\(chunk.problem.observations[k].count) numbers"
      }
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

  /// The states of a path at which the flow's term is known, thinned to what a chart can show.
  private static func path<Scalar>(_ result: ReconstructionResult<Scalar>, psnr: [Double?])
    -> ReconstructionReport.Path?
  {
    let (name, parameter): (String, (PathState) -> Double) =
      switch result.path {
      case "prior": ("t", { $0.weights.t })
      case "lambda": ("λ", { $0.weights.lambda })
      default: ("evaluations", { Double($0.evaluations) })
      }
    let states = result.trace.enumerated().filter { $0.element.event != .failed && $0.element.flow != nil }
    guard states.count > 1 else { return nil }
    let stride = (states.count + mostPoints - 1) / mostPoints
    let points = states.enumerated().filter { $0.offset % stride == 0 || $0.offset == states.count - 1 }
      .map { _, place in
        let state = place.element
        return ReconstructionReport.PathPoint(
          parameter: parameter(state), objective: state.objective, recon: state.recon,
          reg: state.flow ?? .nan,
          psnr: psnr.indices.contains(place.offset) ? psnr[place.offset] : nil)
      }
    return ReconstructionReport.Path(parameterName: name, points: points)
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
          evaluations: mean(figures.map { Double($0.evaluations) })))
    }
    let total = figures.map(\.count).max() ?? 0
    let shown = entries.count < total ? " The first \(entries.count) are shown." : ""
    return ReconstructionReport(
      title: settings.title, subtitle: "with the prior \(settings.prior)", command: Provenance.command,
      // The command has a place of its own.
      provenance: settings.provenance.filter { $0.0 != "command" }.map {
        ReconstructionReport.Field($0, $1.text)
      },
      sections: [
        ReconstructionReport.Section(
          title: "Results", caption: "\(total) image\(total == 1 ? "" : "s").\(shown)",
          settings: settings.solver.map { ReconstructionReport.Field($0, $1.text) }, entries: entries,
          summary: rows)
      ])
  }
}
