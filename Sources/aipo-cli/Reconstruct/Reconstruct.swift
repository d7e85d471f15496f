import AIPO
import ArgumentParser

/// `aipo reconstruct`: the main job.
struct Reconstruct: Verb {
  static let configuration = CommandConfiguration(
    abstract: "Bring images back from noisy, partial or compressed observations.",
    discussion: """
      Minimises L_recon(x) + λ L_reg(x), both in nats: L_recon = −log p(y | x) and
      L_reg = −log p(x) under the model. Along a path the solution is followed from
      where it is easy to its target, and each step starts at the last solution.

      Examples:
        aipo reconstruct --task denoise --observation noisy.png --sigma 0.1 \\
          --out clean.png
        aipo reconstruct --task inpaint --observation holes.npy --mask mask.png \\
          --out filled.npy --report report.html
        aipo reconstruct --task sense --operator A.npy --observation y.npy \\
          --out images.npy --json
        aipo reconstruct --task sense --measurements 200 --simulate images.idx \\
          --indices 0:24:1 --method aipo,fixed,gaussian --report report.html

      With several methods the method is added to the name of --out:
      out.png becomes out-aipo.png and so on.
      """)

  @OptionGroup(title: "Observation") var observation: ObservationOptions
  @OptionGroup(title: "Solver") var solver: SolverOptions
  @OptionGroup(title: "Output") var output: ReconstructOutputOptions
  @OptionGroup var model: ModelOptions
  @OptionGroup var common: CommonOptions

  func validate() throws {
    let images = output.paths(methods: solver.method.methods).map { ("--out", Optional($0)) }
    try OutputPath.requireDistinct(
      images + [
        ("--report", output.report), ("--sheet", output.sheet), ("--trace", output.trace),
        ("--save-observation", output.observation),
      ])
  }

  func perform() throws -> ExitStatus {
    let paths = output.paths(methods: solver.method.methods)
    try OutputPath.checkWritable(paths + [output.report, output.sheet, output.trace, output.observation])
    Interrupt.install()
    return switch common.precision {
    case .float32: try reconstruct(Float.self, paths: paths)
    case .float64: try reconstruct(Double.self, paths: paths)
    }
  }

  private func reconstruct<Scalar: KernelScalar>(_: Scalar.Type, paths: [OutputPath]) throws -> ExitStatus {
    let prior = try Prior<Scalar>(options: model, common: common)
    let job = ReconstructionJob(
      prior: prior, gaussian: try prior.gaussian(),
      input: try ReconstructionInput(
        observation, shape: prior.shape, seed: common.seed, common: common), solver: solver)
    let methods = solver.method.methods
    let run = ReconstructionRun<Scalar>(
      methods: methods, total: job.count, settings: settings(job.input, prior),
      writers: try ReconstructionWriters(
        paths: paths, shape: prior.shape, trace: output.trace, report: output.report,
        sheet: output.sheet, isSheetLabelled: output.sheetLabels,
        observation: try output.observation.map { try RowSink(rows: $0, rowShape: job.input.rowShape) }),
      common: common)
    run.advise(job.input.advices)
    Interrupt.whenOverdue { [weak run] isUrgent in if !isUrgent { _ = try? run?.finish() } }

    let progress = ProgressLine(
      "reconstruct", total: job.count * methods.count, unit: "images", options: common)
    var done = 0
    for places in job.chunks(of: 0..<job.count) where !Interrupt.requested {
      let chunk = try job.chunk(places)
      run.advise(chunk.advices)
      for (k, method) in methods.enumerated() where !Interrupt.requested {
        let before = done
        let quality = PathQuality(chunk)
        let isTraced = output.report != nil || output.trace != nil
        let results = try job.solve(
          chunk, by: method,
          onStates: { if isTraced { quality.observe($0) } },
          onProgress: { progress.update(Double(before + $0.finished), describe($0, method)) })
        run.advise(try job.advices(on: results, by: method, chunk))
        try run.add(results, of: k, chunk: chunk, quality: quality)
        done += chunk.indices.count
        progress.update(Double(done))
      }
    }
    progress.finish()
    return try run.finish()
  }

  /// What decided the result, for the JSON and the report.
  private func settings<Scalar>(_ input: ReconstructionInput, _ prior: Prior<Scalar>) -> RunSettings {
    var members = input.noise.settings
    var title = "Denoising"
    if observation.task != .denoise {
      if let measurements = input.measurements { members.append(("measurements", .int(measurements))) }
      title = "Compressed sensing, \(input.measurements ?? 0) of \(prior.shape.count)"
    }
    if let mask = observation.mask {
      members.append(("mask", .string(mask.description)))
      title = "Inpainting, \(mask.words)"
    }
    if let threshold = observation.maskThreshold { members.append(("maskThreshold", .number(threshold))) }
    var remarks: [String] = []
    if let hidden = input.hiddenShare {
      members.append(("hidden", .number(hidden)))
      remarks.append("The mask hides \(StudyText.number(100 * hidden, 1)) % of the values.")
    }
    if output.isEmpty {
      remarks.append("Nothing was kept: --out result.png keeps the images, --report report.html shows them.")
    }
    title += input.noise.words
    members += [
      ("path", .string(solver.path.description)), ("lambda", .string(solver.lambda.description)),
      ("flowShare", .string(solver.flowShare.description)),
      ("space", .string(solver.space.rawValue)), ("corrector", .string(solver.corrector.rawValue)),
      ("predictor", .string(solver.predictor.rawValue)),
      ("init", .string((solver.start ?? .auto).rawValue)), ("probes", .int(solver.probes)),
      ("tolerance", .number(solver.tolerance)), ("epsilon", .number(solver.epsilon)),
      ("maxEvaluations", .int(solver.maxEvaluations)), ("precision", .string(common.precision.rawValue)),
    ]
    if let restarts = solver.restarts { members.append(("restarts", .int(restarts))) }
    if solver.method.methods.contains(where: { $0 == .tv || $0 == .lasso }) {
      members.append(("penalty", .string(solver.penalty.description)))
    }
    return RunSettings(
      task: observation.task.rawValue, title: title, prior: prior.source.name, seed: common.seed,
      solver: members, provenance: Provenance.members(model: prior.source, common: common), remarks: remarks)
  }
}

/// What a run leaves behind.
struct ReconstructOutputOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "The images: .png (clipped, a grid where several) or .npy or .npz (unclipped). (default: none)",
      valueName: "file"))
  var out: OutputPath?

  @Option(
    help: ArgumentHelp(
      "A report in one HTML file: images, error maps, curves, settings. (default: none)", valueName: "file"))
  var report: OutputPath?

  @Option(
    help: ArgumentHelp(
      """
      The pictures alone as a PNG: a column an image; truth, observation and every method as rows, with their \
      names. (default: none)
      """, valueName: "file"))
  var sheet: OutputPath?

  @Flag(inversion: .prefixedNo, help: "Whether the sheet names its rows and columns.")
  var sheetLabels = true

  @Option(
    help: ArgumentHelp("The states of every path, a JSON line each. (default: none)", valueName: "file"))
  var trace: OutputPath?

  @Option(
    name: .customLong("save-observation"),
    help: ArgumentHelp(
      """
      What was observed, as --observation takes it (hidden pixels are 0): an NPY or NPZ, unclipped. With --simulate, \
      the noisy data for another run. (default: none)
      """, valueName: "file"))
  var observation: OutputPath?

  /// Whether no picture of the results is kept.
  var isEmpty: Bool { out == nil && report == nil && sheet == nil }

  func validate() throws {
    try out?.requireImageSuffix("--out")
    try sheet?.requirePNG("--sheet")
    try observation?.requireArraySuffix("--save-observation")
  }

  /// Where each method's images go: `--out`, with the method in the name where there are several.
  func paths(methods: [ReconstructionMethod]) -> [OutputPath] {
    guard let out else { return [] }
    guard methods.count > 1 else { return [out] }
    return methods.map { out.adding("-\($0.rawValue)") }
  }
}
