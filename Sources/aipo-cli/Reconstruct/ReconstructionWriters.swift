import AIPO
import Synchronization

/// The files that a reconstruction writes: images, trace, report and sheet. The caller holds a lock.
final class ReconstructionWriters<Scalar: KernelScalar>: Sendable {
  private let sinks: [RowSink<Scalar>]
  private let trace: Mutex<AtomicFile?>
  private let report: OutputPath?
  private let sheet: OutputPath?
  private let isSheetLabelled: Bool
  private let observation: RowSink<Scalar>?
  private let builder = Mutex(ReportBuilder())

  init(
    paths: [OutputPath], shape: ImageShape, trace: OutputPath?, report: OutputPath?, sheet: OutputPath?,
    isSheetLabelled: Bool, observation: RowSink<Scalar>?
  ) throws {
    sinks = try paths.map { try RowSink(images: $0, shape: shape) }
    self.report = report
    self.sheet = sheet
    self.isSheetLabelled = isSheetLabelled
    self.observation = observation
    self.trace = Mutex(try trace.map { try AtomicFile(path: $0.path) })
  }

  func write(
    _ results: [ReconstructionResult<Scalar>], images: Tensor<Scalar>, method: Int,
    of name: ReconstructionMethod, chunk: ReconstructionInput.Chunk, figures: [ImageFigures],
    quality: PathQuality
  ) throws {
    if !sinks.isEmpty { try sinks[method].append(images) }
    if method == 0, let observation {
      let rows = results.map(\.index)
      try observation.append(
        try chunk.isPicture
          ? chunk.observed.rows(rows).converted(to: Scalar.self)
          : Tensor(
            shape: [rows.count, chunk.problem.observations[rows[0]].count],
            elements: rows.flatMap { chunk.problem.observations[$0].map { Scalar($0) } }))
    }
    if report != nil || sheet != nil {
      try builder.withLock {
        try $0.add(results, method: name, chunk: chunk, figures: figures, quality: quality)
      }
    }
    try trace.withLock { file in
      guard let file else { return }
      for result in results {
        let psnr = quality.psnr(image: result.index)
        for (k, state) in result.trace.enumerated() {
          let line = Self.line(
            state, source: chunk.names[result.index], method: name,
            psnr: psnr.indices.contains(k) ? psnr[k] : nil)
          try file.write(line.compact + "\n")
        }
      }
    }
  }

  func finish(
    settings: RunSettings, methods: [ReconstructionMethod], figures: [[ImageFigures]], advices: AdviceList
  ) throws {
    // Where nothing was finished, what an earlier run left stays.
    guard figures.contains(where: { !$0.isEmpty }) else { return trace.withLock { $0 = nil } }
    for (k, sink) in sinks.enumerated() where !figures[k].isEmpty { try sink.finish() }
    try observation?.finish()
    if report != nil || sheet != nil {
      let content = builder.withLock {
        $0.report(settings: settings, methods: methods, figures: figures, advices: advices)
      }
      if let report { try content.write(to: report.path) }
      if let sheet { try content.sections[0].writeSheet(to: sheet.path, isLabelled: isSheetLabelled) }
    }
    try trace.withLock { file in
      try file?.commit()
      file = nil
    }
  }

  private static func line(
    _ state: PathState, source: String, method: ReconstructionMethod, psnr: Double?
  ) -> JSONValue {
    .object([
      ("source", .string(source)), ("method", .string(method.rawValue)),
      ("event", .string(state.event.rawValue)), ("s", .number(state.s)),
      ("lambda", .number(state.weights.lambda)), ("t", .number(state.weights.t)),
      ("objective", .number(state.objective)), ("recon", .number(state.recon)),
      ("reg", .optional(state.flow)), ("gaussian", .optional(state.gaussian)), ("psnr", .optional(psnr)),
      ("evaluations", .int(state.evaluations)), ("iterations", .int(state.iterations)),
      ("step", .number(state.step)), ("gradientNorm", .number(state.gradientNorm)),
      ("relativeGradient", .optional(state.relativeGradient)),
      ("solveIterations", .int(state.solveIterations)), ("curvature", .optional(state.curvature)),
      ("monotone", state.isMonotone.map { .bool($0) } ?? .null),
      ("reason", state.stop.map { .string($0.rawValue) } ?? .null),
      ("theorem", state.theorem.map(Self.members) ?? .null),
    ])
  }

  private static func members(_ plan: TheoremPlan) -> JSONValue {
    .object([
      ("leastCurvature", .number(plan.leastCurvature)),
      ("greatestCurvature", .number(plan.greatestCurvature)),
      ("hessianLipschitz", .number(plan.hessianLipschitz)), ("priorGradient", .number(plan.priorGradient)),
      ("radius", .number(plan.radius)), ("lambdaSteps", .number(plan.lambdaSteps)),
      ("gradientSteps", .number(plan.gradientSteps)), ("evaluations", .int(plan.evaluations)),
    ])
  }
}
