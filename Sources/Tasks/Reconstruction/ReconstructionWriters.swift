import AIPOImaging
import AIPOKernels
import AIPOSolvers
import Synchronization

/// The files that a reconstruction writes: images, trace, report and sheet. The caller holds a lock.
final class ReconstructionWriters: Sendable {
  private let files: ReconstructionFiles
  private let sinks: [RowSink]
  private let trace: Mutex<AtomicFile?>
  private let observation: RowSink?
  private let builder = Mutex(ReportBuilder())

  /// - Parameter strips: where every rank has some rows of each image.
  init(
    _ files: ReconstructionFiles, _ input: ReconstructionInput, precision: Precision, strips: Strips?
  ) throws {
    self.files = files
    sinks = try files.images.map {
      try RowSink(
        images: $0, shape: input.shape, precision: precision, geometry: input.geometry, depth: files.depth,
        strips: strips)
    }
    observation = try files.observation.map {
      try RowSink(rows: $0, rowShape: input.rowShape, precision: precision)
    }
    let isWriter = strips?.ranks.isFirst ?? true
    trace = Mutex(try files.trace.flatMap { isWriter ? try AtomicFile(path: $0) : nil })
  }

  private var isReported: Bool { files.report != nil || files.sheet != nil }

  func write(_ solved: SolvedChunk, method: Int) throws {
    let chunk = solved.chunk
    if !sinks.isEmpty { try sinks[method].append(solved.images) }
    if method == 0, let observation {
      let rows = solved.results.map(\.index)
      try observation.append(
        try chunk.masks != nil
          ? chunk.observed.rows(rows)
          : Tensor(
            shape: [rows.count] + chunk.measuredShape,
            elements: rows.flatMap { chunk.problem.observations[$0].elements }))
    }
    if isReported { try builder.withLock { try $0.add(solved) } }
    try trace.withLock { file in
      guard let file else { return }
      for result in solved.results {
        let psnr = solved.quality.psnr(image: result.index)
        for (k, state) in result.trace.enumerated() {
          let line = Self.line(
            state, source: chunk.names[result.index], method: solved.method,
            psnr: psnr.indices.contains(k) ? psnr[k] : nil)
          try file.write(line.compact + "\n")
        }
      }
    }
  }

  func finish(
    settings: RunSettings, methods: [ReconstructionMethod], records: [[ReconstructionRecord]],
    advices: AdviceList
  ) throws {
    // Where nothing was finished, what an earlier run left stays.
    guard records.contains(where: { !$0.isEmpty }) else { return trace.withLock { $0 = nil } }
    for (k, sink) in sinks.enumerated() where !records[k].isEmpty { try sink.finish() }
    try observation?.finish()
    if isReported {
      let content = builder.withLock {
        $0.report(settings: settings, methods: methods, records: records, advices: advices)
      }
      if let report = files.report { try content.write(to: report) }
      if let sheet = files.sheet {
        try content.writeSheet(to: sheet, isLabelled: files.isSheetLabelled)
      }
    }
    try trace.withLock { file in
      try file?.commit()
      file = nil
    }
  }

  private static func line(
    _ state: PathState, source: String, method: ReconstructionMethod, psnr: Double?
  ) -> JSONValue {
    [
      "source": .string(source), "method": .string(method.rawValue), "event": .string(state.event.rawValue),
      "s": .number(state.s), "lambda": .number(state.weights.lambda), "t": .number(state.weights.t),
      "noiseLevel": .number(state.noiseLevel),
      "objective": .number(state.objective), "recon": .number(state.recon), "reg": .optional(state.flow),
      "gaussian": .optional(state.gaussian), "psnr": .optional(psnr), "evaluations": .int(state.evaluations),
      "iterations": .int(state.iterations), "step": .number(state.step),
      "gradientNorm": .number(state.gradientNorm), "relativeGradient": .optional(state.relativeGradient),
      "solveIterations": .int(state.solveIterations), "curvature": .optional(state.curvature),
      "monotone": JSONValue(encoding: state.isMonotone), "reason": JSONValue(encoding: state.stop),
      "theorem": state.theorem.map(members) ?? .null,
    ]
  }

  private static func members(_ plan: TheoremPlan) -> JSONValue {
    [
      "leastCurvature": .number(plan.leastCurvature), "greatestCurvature": .number(plan.greatestCurvature),
      "hessianLipschitz": .number(plan.hessianLipschitz), "priorGradient": .number(plan.priorGradient),
      "radius": .number(plan.radius), "lambdaSteps": .number(plan.lambdaSteps),
      "gradientSteps": .number(plan.gradientSteps), "evaluations": .int(plan.evaluations),
    ]
  }
}
