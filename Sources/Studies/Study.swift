import AIPOFlows
import AIPOKernels
import AIPOTasks

/// A study: grids of reconstructions over many images, solved into a folder and compared.
///
/// ```swift
/// let results = try Study(path: "Studies/quick.yaml").run(in: "quick")
/// ```
public struct Study: Sendable {
  public let plan: StudyPlan
  private let path: String
  private let defaults: [StudyOption]
  private let seed: UInt64

  /// Reads a study's YAML, as `aipo help study` describes it.
  ///
  /// - `defaults`: options of cells that don't have them.
  /// - `seed`: of the grids' random draws.
  ///
  /// Throws `ConfigError`, naming line and key, and `FileError`.
  public init(path: String, defaults: [StudyOption] = [], seed: UInt64 = 0) throws {
    self.path = path
    self.defaults = defaults
    self.seed = seed
    plan = try StudyReader(
      yaml: ConfigDocument.text(path: path), path: path, defaults: defaults, seed: seed
    ).plan()
  }

  /// How a caller sees a study, and stops it.
  public struct Observer {
    /// Told how many solves the folder holds, and how many there are.
    public var onBegin: (_ done: Int, _ total: Int) -> Void
    /// Told of solves that are done, and of what goes on.
    public var onProgress: (_ done: Double, _ text: String) -> Void
    /// Told what looks like a mistake, a line each.
    public var onAdvice: ([String]) -> Void
    public var isCancelled: () -> Bool

    public init(
      onBegin: @escaping (Int, Int) -> Void = { _, _ in },
      onProgress: @escaping (Double, String) -> Void = { _, _ in },
      onAdvice: @escaping ([String]) -> Void = { _ in }, isCancelled: @escaping () -> Bool = { false }
    ) {
      self.onBegin = onBegin
      self.onProgress = onProgress
      self.onAdvice = onAdvice
      self.isCancelled = isCancelled
    }
  }

  /// Whether what another build of the program has solved may stay.
  public enum OtherBuilds: Sendable { case refused, kept }

  /// Solves what the folder doesn't hold yet, and writes `results.csv`, `results.json`, `results.md` and `report.html`
  /// to it; the same files, to the byte, however often it was stopped and whoever did it. Nil where nothing was solved, of a
  /// shard, and on all ranks but the first.
  ///
  /// - `division`: what of the study is done here. Ranks and shards may share the folder; all ranks must see it.
  /// - `shards`: folders of shards whose solves are taken in. Nothing is solved then.
  ///
  /// Throws for the first cell that can't be solved, before anything is.
  public func run(
    in out: String, others: OtherBuilds = .refused, threads: Int = ThreadPool.availableCores,
    division: Division = Division(), merging shards: [String] = [], observer: Observer = Observer()
  ) throws -> StudyResults? {
    let ranks = division.ranks
    let runFolder = ranks.isFirst ? try StudyFolder.check(out) : RunFolder(ofAnotherRank: out)
    let models = try StudyModels(plan.cells, threads: threads)
    let runner = StudyRunner(plan: plan, models: models, observer: observer, division: division)
    let sizes = try runner.sizes()
    if try ranks.any(observer.isCancelled(), patience: nil) { return nil }
    let identity = StudyIdentity(
      builds: [try AIPOVersion.build()], models: models.sources.mapValues(\.checksum),
      cells: plan.cells.map(\.commandLine))
    try ranks.requireSame(identity.words)
    let folder = try StudyFolder(runFolder, identity: identity, others: others, division: division)
    try ranks.wait()
    if shards.isEmpty {
      try runner.run(sizes: sizes, folder: folder)
      try ranks.wait()
    } else if ranks.isFirst {
      try folder.merge(shards, identity, others: others)
      try runner.requireAll(sizes: sizes, folder: folder)
    }
    guard ranks.isFirst, division.shard == nil else { return nil }
    let solves = runner.results(sizes: sizes, folder: folder)
    guard solves.contains(where: { !$0.isEmpty }) else { return nil }
    let total = sizes.reduce(0, +)
    let summary = StudySummary(plan, results: solves)
    let provenance = provenance(models, builds: folder.builds)
    let records = StudyRecords(
      plan: plan, summary: summary, results: solves, total: total, provenance: provenance)
    let report = StudyReportBuilder(
      plan: plan, summary: summary, total: total, command: command, provenance: provenance
    ).report()
    let results = StudyResults(records, in: out)
    try AtomicFile.write(records.csv, to: "\(out)/results.csv")
    try AtomicFile.write(results.json.pretty + "\n", to: "\(out)/results.json")
    try AtomicFile.write(report.markdown(), to: "\(out)/results.md")
    try report.write(to: "\(out)/report.html")
    return results
  }

  /// The command that makes the study again. The folder is the one thing in it that decides nothing, so that
  /// its name isn't in the files.
  private var command: String {
    var name = path.split(separator: "/").last.map(String.init) ?? path
    if let dot = name.lastIndex(of: "."), dot != name.startIndex { name = String(name[..<dot]) }
    var words = ["aipo", "study", shellQuoted(path), "--out", shellQuoted(name)]
    for option in defaults { words += ["--\(option.name)", shellQuoted(option.value)] }
    return words.joined(separator: " ")
  }

  private func provenance(_ models: StudyModels, builds: [String]) -> JSONValue {
    var names: [String: String] = [:]
    for source in models.sources.values { names[source.name] = source.checksum }
    return [
      "version": .string(AIPOVersion.number), "kernels": .string(AIPOVersion.kernels),
      "builds": .array(builds.map { .string($0) }), "seed": .unsigned(seed),
      "models": .object(names.sorted { $0.key < $1.key }.map { ($0.key, .string($0.value)) }),
      "command": .string(command),
    ]
  }
}

/// What a study comes to.
public struct StudyResults: Sendable {
  /// As `results.json` has it.
  public let json: JSONValue
  /// How the solves of each grid ended, a table.
  public let text: String
  /// That some results aren't finite; nil where all are.
  public let failure: String?
  /// Solves that are done, and that the study asks for.
  public let done: Int
  public let total: Int

  init(_ records: StudyRecords, in out: String) {
    let solves = Array(records.results.joined())
    json = records.json
    done = solves.count
    total = records.total
    var table = TextTable(["", "solves"] + StudyEnd.allCases.map(\.words))
    for grid in records.summary.grids {
      let tally = StudySummary.tally(grid.solves.map(\.solve))
      table.add([grid.grid.name, "\(grid.solves.count)"] + tally.map { "\($0.count)" })
    }
    if records.summary.grids.count > 1 {
      table.addRule()
      table.add(["all", "\(done)"] + records.summary.tally.map { "\($0.count)" })
    }
    text =
      table.text + "\n"
      + (done == total
        ? "\(out)/report.html shows everything"
        : "\(done) of \(total) solves are done; the same command goes on")
    let failed = solves.filter { $0.end == .notFinite }
    let all = done
    failure = failed.first.map {
      "\(failed.count) of \(all) results aren't finite, the first of them that of "
        + "\($0.sample.source)#\($0.sample.index) (\($0.record.reason.rawValue))"
    }
  }
}

/// Why a cell of a study can't be solved.
public struct StudyCellError: Error, CustomStringConvertible {
  /// Its number.
  public let cell: Int
  public let command: String
  public let error: any Error

  public var description: String { "cell \(cell) of the study, '\(command)': \(error)" }
}
