import AIPOFlows
import AIPOImaging
import AIPOKernels
import AIPOPriors
import AIPOProblems
import AIPOSolvers

/// How a sampler is to be calibrated: the flags of `aipo calibrate`.
public struct CalibrationTask: Sendable {
  /// How made images are measured.
  public var problem: ReconstructionTask
  /// How their posteriors are sampled.
  public var sampling = PosteriorOptions()
  /// Made problems.
  public var problems = 100
  /// Draws that a truth is ranked among.
  public var ranks = 31
  public var start = CalibrationStart.chains

  public init() { self.init(ReconstructionTask()) }

  public init(_ problem: ReconstructionTask) {
    self.problem = problem
    sampling.draws = 200
  }

  /// Throws a usage error where settings are at odds with each other.
  package func check() throws(TaskError) {
    if start == .chains, problems > 0, sampling.chains * sampling.drawCount < ranks {
      throw TaskError(
        .usage, key: "ranks", "--ranks is \(ranks), expected at most the draws of all chains")
    }
    if problems == 0, problem.simulate == nil {
      throw TaskError(
        .usage, key: "problems", "--problems is 0, and there is no --simulate: there is nothing to do")
    }
  }
}

extension CalibrationTask: KeyedSettings {
  public static let keys: [SettingKey<CalibrationTask>] = [
    key("problems", "Made problems. 0: none.", "n", \.problems, .whole(0...1_000_000)),
    key("ranks", "Draws that each truth is ranked among.", "n", \.ranks, .whole(1...10_000)),
    key(
      "from",
      """
      chains: from draws of the prior, as posterior does. truth: from the truth, which is itself a draw of its posterior, with \
      step and mass of one warm-up for all: quick, and exact for every sampler that leaves the posterior as it is, but it \
      doesn't say whether chains get there.
      """, "start", \.start, .choice()),
  ]
}

/// Where the chains of a calibration begin.
public enum CalibrationStart: String, Sendable, CaseIterable {
  /// At draws of the prior, with a warm-up of their own: as `aipo posterior` does.
  case chains
  /// At the truth, with mass and step of one warm-up for all: exact wherever moves leave the posterior as it is, and quick.
  case truth
}

/// The calibration of a sampler under a prior, a map and a noise law.
public struct CalibrationRun {
  public let task: CalibrationTask
  public let model: ReconstructionModel
  private let calibration: Calibration
  private let sampler: any Sampler
  private let title: String

  /// Throws where a setting can't be calibrated: a prior that can't be drawn, noise that isn't known beforehand.
  public init(_ task: CalibrationTask, threads: Int = ThreadPool.availableCores) throws {
    var task = task
    try task.problem.checkCalibration()
    model = try ReconstructionModel(
      task.problem.model, for: nil, precision: task.problem.precision, threads: threads)
    let shape = model.model.imageShape
    guard let prior = try model.prior(at: shape) as? any DrawablePrior, prior.isNormalized else {
      throw TaskError(
        .data,
        "\(model.source.path): this prior can't be drawn as whole images, so nothing can be calibrated under it"
      )
    }
    let map = try task.problem.map(of: shape)
    let values = map is MaskMap ? shape.count : map.output.count
    let input = try NoiseInput(
      task.problem, measurements: map.output.count, values: values, count: 1, showsPixels: false,
      threads: threads)
    task.problem = input.task
    guard let noise = try input.known(map) else {
      throw TaskError(
        .usage, key: "noise", "a calibration needs noise that is known before anything is measured")
    }
    let space = task.sampling.space ?? (prior is any LatentPrior ? .z : .x)
    if task.sampling.sampler == .pcn, space == .x {
      throw TaskError(.usage, key: "space", "--sampler pcn works in space z")
    }
    guard let sampler = task.sampling.sampler.sampler else {
      throw TaskError(
        .usage, key: "sampler",
        "--sampler \(task.sampling.sampler.rawValue) can't be calibrated, expected hmc, mala, mams or pcn")
    }
    self.sampler = sampler
    calibration = try Calibration(
      prior: prior, map: map, noise: noise, space: space, draws: task.ranks, seed: task.problem.seed)
    title = "\(task.problem.kind?.rawValue ?? "")\(input.words)"
    self.task = task
  }

  /// Ranks the truths of all problems.
  public func run(observer: WorkObserver = WorkObserver()) throws -> CalibrationResult {
    var ranks: [[Int]] = []
    try run(Array(0..<task.problems), observer) { ranks.append($1) }
    return result(ranks)
  }

  /// Ranks the truths of the own problems, which the folder keeps; no result where another process has the whole, or it was
  /// stopped.
  public func run(_ work: SharedWork?, observer: WorkObserver = WorkObserver()) throws -> (
    SharedWork.Outcome, CalibrationResult?
  ) {
    guard let work else { return (.first, try run(observer: observer)) }
    let decides = [
      try AIPOVersion.build(), model.source.checksum, title, "\(task.problem.seed)", "\(task.ranks)",
      task.start.rawValue, "\(task.sampling)",
      JSONValue.object(task.problem.settings).compact,
    ]
    try work.ranks.requireSame(decides.map { ("task", $0) })
    let folder = try ItemFolder<[Int]>(work.folder, decides: decides)
    let outcome = try work.run(task.problems, holds: folder.holds, isCancelled: observer.isCancelled) { own in
      guard !own.isEmpty else { return }
      try run(own, observer) { try folder.write($1, $0) }
    }
    guard case .first = outcome else { return (outcome, nil) }
    return (outcome, result(try (0..<task.problems).map(folder.read)))
  }

  /// The posteriors of the images that the problem simulates, to try intervals on; nil where it names none.
  public func realImages() throws -> PosteriorSampling? {
    guard task.problem.simulate != nil else { return nil }
    var posterior = PosteriorTask(task.problem)
    posterior.sampling = task.sampling
    return try PosteriorSampling(posterior, model: model, threads: model.pool.threads)
  }

  private func result(_ found: [[Int]]) -> CalibrationResult {
    CalibrationResult(
      title: title, problems: found.count, draws: task.ranks,
      figures: CalibrationFigure.all(found, names: calibration.names, draws: task.ranks))
  }

  private func run(
    _ problems: [Int], _ observer: WorkObserver, take: (_ problem: Int, _ ranks: [Int]) throws -> Void
  ) throws {
    let draw: Calibration.Draw
    switch task.start {
    case .chains:
      draw = Calibration.byChains(
        sampler, chains: task.sampling.chains, warmUp: task.sampling.warmUp, draws: task.sampling.drawCount,
        of: calibration.prior, kept: task.ranks)
    case .truth:
      draw = Calibration.fromTruth(
        sampler, try tuning(observer), draws: task.ranks, spacing: task.sampling.thin)
    }
    let pool = ThreadPool(threads: model.pool.threads)
    let lock = Lock()
    // As many at a time as leave a look at a signal soon.
    for start in stride(from: 0, to: problems.count, by: pool.threads) where !observer.isCancelled() {
      let some = problems[start..<min(start + pool.threads, problems.count)]
      var ranks = [[Int]](repeating: [], count: some.count)
      try BLASThreads.single {
        try pool.run(some.count) { k, _ in
          let own = try calibration.ranks(
            problem: problems[start + k], Scratch(pool: ThreadPool(threads: 1)), draw: draw)
          lock.withLock { ranks[k] = own }
        }
      }
      for (problem, own) in zip(some, ranks) { try take(problem, own) }
      observer.onProgress(Double(start + some.count))
    }
  }

  /// Behind all problems that are ranked, however many these are, so that more of them go on with the same tuning.
  private static let tuningProblem = Int(Int32.max)

  /// Mass and step by the warm-up of one problem's chains that begin at its truth.
  private func tuning(_ observer: WorkObserver) throws -> SamplerTuning {
    let scratch = Scratch(pool: ThreadPool(threads: 1))
    let problem = try calibration.make(Self.tuningProblem, scratch)
    let chains = try MarkovChains(
      problem.density, sampler, count: task.sampling.chains, key: problem.key, pool: model.pool,
      isCancelled: observer.isCancelled
    ) { _, point, _ in point.set(problem.truth.point) }
    try chains.warmUp(task.sampling.warmUp)
    return chains.tuning
  }
}

/// What a calibration comes to.
public struct CalibrationResult: Sendable {
  public let title: String
  public let problems: Int
  public let draws: Int
  public let figures: [CalibrationFigure]

  /// Functionals whose ranks leave the 95 % band.
  public var outside: [CalibrationFigure] { figures.filter { !$0.isInside } }

  /// How far a coverage of 90 % may be off by chance, at 95 %.
  public var coverageError: Double { 1.96 * (0.09 / Double(max(problems, 1))).squareRoot() }

  /// Whether the ranks are as a right sampler's: of independent functionals one in twenty leaves its band by chance, so that
  /// more than two and a tenth of them, or one by far, tell of a fault.
  public var isCalibrated: Bool {
    outside.count <= max(2, figures.count / 10)
      && !figures.contains { $0.probability < 0.05 / Double(4 * figures.count) }
  }

  package var text: String {
    var table = TextTable(["functional", "ranks uniform, p", "90 % coverage"])
    for figure in figures {
      table.add([
        figure.name, fixed(figure.probability, 3) + (figure.isInside ? "" : " *"), fixed(figure.coverage, 3),
      ])
    }
    let verdict = isCalibrated ? "calibrated, as far as so many problems can tell" : "NOT calibrated"
    return table.text + """

      \(figures.count - outside.count) of \(figures.count) inside the 95 % band; \(counted(problems, "problem")), ranked among \
      \(draws) draws. Coverage by chance: 0.900 ± \(fixed(coverageError, 3)). The sampler is \(verdict).
      """
  }

  package var json: JSONValue {
    [
      "task": .string(title), "problems": .int(problems), "draws": .int(draws),
      "calibrated": .bool(isCalibrated), "outside": .int(outside.count),
      "coverageError": .number(coverageError),
      "functionals": .array(
        figures.map {
          [
            "name": .string($0.name), "probability": .number($0.probability), "inside": .bool($0.isInside),
            "coverage": .number($0.coverage), "ranks": .array($0.ranks.map { .int($0) }),
          ]
        }),
    ]
  }

  /// How far the distribution functions of the ranks are from the straight line, with their band: a picture.
  package var chart: LineChart {
    let x = (0..<draws).map { Double($0 + 1) / Double(draws + 1) }
    let band = RankUniformity(count: max(problems, 1), draws: draws).band
    var series: [LineChart.Series] = [
      .init(name: "band, low", x: x, y: zip(band, x).map { $0.low - $1 }),
      .init(name: "band, high", x: x, y: zip(band, x).map { $0.high - $1 }),
    ]
    let shown = figures.sorted { $0.probability < $1.probability }.prefix(4)
    for figure in shown {
      series.append(
        .init(
          name: figure.name, x: x,
          y: (0..<draws).map { k in
            Double(figure.ranks.count { $0 <= k }) / Double(max(problems, 1)) - x[k]
          }))
    }
    var chart = LineChart(
      title: "Ranks of truths among draws: distribution less the straight line", xLabel: "rank",
      yLabel: "difference", series: series)
    chart.caption =
      "The four functionals that leave the line the most. A right sampler stays in the band at once everywhere in 95 of 100 "
      + "calibrations."
    return chart
  }

  /// Writes a page with table and picture. `command` makes it again.
  public func write(to path: String, of run: CalibrationRun, command: String) throws(FileError) {
    try AtomicFile.write(
      html(
        command: command,
        provenance: [("model", run.model.source.name), ("seed", "\(run.task.problem.seed)")]),
      to: path)
  }

  private func html(command: String, provenance: [(String, String)]) -> String {
    let head = ReportHead(
      title: "Calibration: \(title)",
      subtitle: isCalibrated
        ? "The sampler is calibrated, as far as \(counted(problems, "problem")) can tell."
        : "The sampler is not calibrated: \(outside.count) of \(figures.count) functionals leave their band.",
      command: command, provenance: provenance.map { ReportHead.Field($0.0, $0.1) })
    let rows = figures.map { figure in
      "<tr><td>\(Markup.escape(figure.name))</td><td>\(fixed(figure.probability, 3))</td>"
        + "<td>\(figure.isInside ? "inside" : "<b>outside</b>")</td><td>\(fixed(figure.coverage, 3))</td></tr>"
    }
    let body = """
      <div class="charts wide">\(chart.htmlFigure())</div>
      <div class="scroll"><table class="dense"><thead><tr><th>Functional</th><th>p</th><th>95 % band</th>\
      <th>90 % coverage</th></tr></thead><tbody>\(rows.joined())</tbody></table></div></section>
      """
    return
      (ReportPage.opening(head, links: [])
      + ReportPage.sectionOpening(
        id: "s0", title: "Ranks",
        caption: "\(counted(problems, "problem")), each truth ranked among \(draws) draws of its posterior.")
      + [body]
      + ReportPage.closing(
        head,
        note: """
          Truths are drawn from the prior and measured, so their ranks among draws of their posterior are uniform if the \
          sampler is right. p is the share of right samplers that leave the line by as much. It says nothing of real images: \
          whether they are like the prior's is another question.
          """)).joined(separator: "\n")
  }
}

/// How often intervals hold the values of real images, before and after a correction by held-out images.
public struct CoverageResult: Sendable {
  public let level: Double
  /// Images that the correction was found on, and those that it was tried on.
  public let heldOut: Int
  public let tried: Int
  /// Of the central intervals of the draws, of the images that were tried.
  public let coverage: Double
  public let correction: ConformalCorrection
  /// Of `mean ± factor·sd`.
  public let corrected: Double
  /// Images whose chains disagree.
  public let disagreeing: Int

  /// From sampled images with truths: every second one is held out.
  public init?(_ images: [SampledImage], level: Double) {
    let known = images.filter { $0.truth != nil }
    guard known.count > 1 else { return nil }
    func scores(_ image: SampledImage) -> [Double] {
      ConformalCorrection.scores(image.truth!, mean: image.summary.mean, sd: image.summary.sd)
    }
    let held = known.indices.filter { $0 % 2 == 0 }.map { known[$0] }
    let others = known.indices.filter { $0 % 2 == 1 }.map { known[$0] }
    let correction = ConformalCorrection(scores: held.flatMap(scores), level: level)
    self.level = level
    (heldOut, tried) = (held.count, others.count)
    self.correction = correction
    let all = others.flatMap(scores)
    corrected = Double(all.count { $0 <= correction.factor }) / Double(all.count)
    var (inside, count) = (0, 0)
    for image in others {
      let tails = image.draws.interval(level)
      for i in 0..<image.truth!.count {
        let value = Float(image.truth![flat: i])
        if value >= tails.low[i], value <= tails.high[i] { inside += 1 }
        count += 1
      }
    }
    coverage = Double(inside) / Double(count)
    disagreeing = known.count { $0.record.disagreement != nil }
  }

  package var text: String {
    """
    Real images: \(fixed(100 * level, 0)) % intervals held \(fixed(100 * coverage, 1)) % of the pixels of \
    \(counted(tried, "image")). With mean ± \(fixed(correction.factor, 2)) deviations, found on \(heldOut) others, \
    \(fixed(100 * corrected, 1)) %.
    """ + (disagreeing > 0 ? " The chains of \(counted(disagreeing, "image")) disagree." : "")
  }

  package var json: JSONValue {
    [
      "level": .number(level), "heldOut": .int(heldOut), "tried": .int(tried), "coverage": .number(coverage),
      "factor": .number(correction.factor), "corrected": .number(corrected), "disagreeing": .int(disagreeing),
    ]
  }
}

extension PosteriorDraws {
  /// The ends of the central interval of every value, by the kept draws.
  fileprivate func interval(_ level: Double) -> (low: [Float], high: [Float]) {
    let ends = (0..<shape.count).map { i in
      let sorted = draws(value: i).all.sorted()
      return (
        Float(ChainDraws.quantile(sorted, (1 - level) / 2)),
        Float(ChainDraws.quantile(sorted, (1 + level) / 2))
      )
    }
    return (ends.map(\.0), ends.map(\.1))
  }
}
