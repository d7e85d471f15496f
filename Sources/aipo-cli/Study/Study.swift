import AIPO
import ArgumentParser

/// `aipo study`: many reconstructions, compared.
struct Study: Verb {
  static let configuration = CommandConfiguration(
    abstract: "Run a grid of reconstructions over many images and compare them.",
    discussion: """
      A study is a YAML that lists settings of 'aipo reconstruct'; every
      combination is solved. results.csv (a line for each image and setting),
      results.json (means), report.html and results.md (tables) go to a folder.

      A study may be stopped: the same command goes on, and the files are the
      same to the byte. Another build of aipo may solve otherwise, so it refuses
      a folder that this one began, unless --any-build is given.

      The YAML's keys:
        title     of the report
        about     a sentence or more (optional)
        options   settings that all solves share: flags of 'aipo reconstruct'
                  without their dashes; true for a flag without a value
        variants  a list of settings that are compared on every problem (optional)
        grids     a list of
          name      of the section in the report
          about     a sentence or more (optional)
          options   add to the ones above or replace them
          variants  in place of the ones above (optional)
          draws     a number: solve so many random combinations, not all; the
                    number of a draw is its seed, unless options name one
                    (optional)
      A list of values stands for each of them. In options each value is a problem
      of its own, in variants a row of the tables; seeds and indices only add
      samples. The first variant of a problem is what the others are compared with.

      Examples:
        aipo study Studies/quick.yaml --out quick
        aipo study mine.yaml --out mine --model run/model.safetensors --json
      """)

  @Argument(help: "The study, a YAML.", completion: .file(extensions: ["yaml", "yml"]))
  var file: String

  @Option(
    help: ArgumentHelp("The study's folder. It is made, or the study in it goes on.", valueName: "folder"),
    completion: .directory)
  var out: String

  @Flag(
    name: .customLong("any-build"),
    help: "Go on in a folder that another build of aipo began; the report names all builds.")
  var anyBuild = false

  @OptionGroup var model: ModelOptions
  @OptionGroup var common: CommonOptions

  /// The command that makes the study again. The folder is the one thing in it that decides nothing, so that
  /// its name isn't in the files.
  private var command: String {
    var name = file.split(separator: "/").last.map(String.init) ?? file
    if let dot = name.lastIndex(of: "."), dot != name.startIndex { name = String(name[..<dot]) }
    var words = ["aipo", "study", Provenance.quoted(file), "--out", Provenance.quoted(name)]
    for option in defaults { words += ["--\(option.name)", Provenance.quoted(option.value)] }
    return words.joined(separator: " ")
  }

  /// What the flags set for cells that leave it open.
  private var defaults: [StudyOption] {
    [
      ("model", model.model), ("seed", common.givenSeed.map { "\($0)" }),
      ("precision", common.givenPrecision?.rawValue),
    ].compactMap { name, value in value.map { StudyOption(name: name, value: $0) } }
  }

  func perform() throws -> ExitStatus {
    let plan = try StudyReader(
      yaml: ConfigDocument.text(path: file), path: file, defaults: defaults, seed: common.seed,
      parse: Reconstruct.cell
    ).plan()
    let runFolder = try StudyFolder.check(out)
    let models = try StudyModels(plan.cells, common: common)
    // What is solved is kept as it comes, so that nothing need be waited for.
    Interrupt.install()
    let runner = StudyRunner(plan: plan, models: models, common: common)
    let sizes = try runner.sizes()
    if let interrupted = Interrupt.status { return interrupted }
    let folder = try StudyFolder(
      runFolder,
      identity: StudyIdentity(
        builds: [try ProgramVersion.build()], models: models.sources.mapValues(\.checksum),
        cells: plan.cells.map(\.commandLine)),
      others: anyBuild ? .kept : .refused)
    try runner.run(sizes: sizes, folder: folder)
    return try finish(
      plan, provenance(models, builds: folder.builds), results: runner.results(sizes: sizes, folder: folder),
      total: sizes.reduce(0, +))
  }

  /// Writes what the solves come to, and gives the exit code.
  private func finish(
    _ plan: StudyPlan<Reconstruct>, _ provenance: [(String, JSONValue)], results: [[StudySolve]], total: Int
  ) throws -> ExitStatus {
    let solves = Array(results.joined())
    guard !solves.isEmpty else { return Interrupt.status ?? .done }
    let summary = StudySummary(plan, results: results)
    let records = StudyRecords(
      plan: plan, summary: summary, results: results, total: total, provenance: provenance)
    let report = StudyReportBuilder(
      plan: plan, summary: summary, total: total, command: command, provenance: provenance
    ).report()
    try AtomicFile.write(records.csv, to: "\(out)/results.csv")
    try AtomicFile.write(records.json.pretty + "\n", to: "\(out)/results.json")
    try AtomicFile.write(report.markdown(), to: "\(out)/results.md")
    try report.write(to: "\(out)/report.html")
    try common.printJSON(records.json)
    try common.print(Self.text(summary, done: solves.count, total: total, out: out))
    if let interrupted = Interrupt.status { return interrupted }
    let failed = solves.filter { $0.end == .notFinite }
    guard let first = failed.first else { return .done }
    Console.error(
      "aipo: \(failed.count) of \(solves.count) results aren't finite, the first of them that of "
        + "\(first.sample.source)#\(first.sample.index) (\(first.reason))")
    return .noResult
  }

  private func provenance(_ models: StudyModels, builds: [String]) -> [(String, JSONValue)] {
    var names: [String: String] = [:]
    for source in models.sources.values { names[source.name] = source.checksum }
    return [
      ("version", .string(ProgramVersion.number)), ("kernels", .string(ProgramVersion.kernels)),
      ("builds", .array(builds.map { .string($0) })), ("seed", .unsigned(common.seed)),
      ("models", .object(names.sorted { $0.key < $1.key }.map { ($0.key, .string($0.value)) })),
      ("command", .string(command)),
    ]
  }

  private static func text(_ summary: StudySummary, done: Int, total: Int, out: String) -> String {
    var table = TextTable(["", "solves"] + StudyEnd.allCases.map(\.words))
    for grid in summary.grids {
      let tally = StudySummary.tally(grid.solves.map(\.solve))
      table.add([grid.grid.name, "\(grid.solves.count)"] + tally.map { "\($0.count)" })
    }
    if summary.grids.count > 1 {
      table.addRule()
      table.add(["all", "\(done)"] + summary.tally.map { "\($0.count)" })
    }
    let end =
      done == total
      ? "\(out)/report.html shows everything"
      : "\(done) of \(total) solves are done; the same command goes on"
    return table.text + "\n" + end
  }
}
