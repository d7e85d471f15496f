import AIPO
import ArgumentParser

/// `aipo study`: many reconstructions, compared.
struct StudyVerb: Verb {
  static let worksOverRanks = true
  static let configuration = CommandConfiguration(
    commandName: "study", abstract: "Run a grid of reconstructions over many images and compare them.",
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
        rank      psnr, which takes the truth, or evidence: log p(y), which doesn't,
                  but costs hundreds of times as much (default: psnr)
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

      Many machines share a study by mpirun, if aipo is built for it, or in shards:
      processes that do a part each and needn't run at the same time. Shards may
      use one folder, or one each; --merge joins these and writes the results, the
      same to the byte as those of one process.

      Examples:
        aipo study Studies/quick.yaml --out quick
        aipo study mine.yaml --out mine --model run/model.safetensors --json
        aipo study mine.yaml --out part-2 --shard 2/3
        aipo study mine.yaml --out mine --merge part-1 part-2 part-3
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

  @OptionGroup var sharing: ShardOptions
  @OptionGroup var model: ModelOptions
  @OptionGroup var common: CommonOptions

  func perform() throws -> ExitStatus {
    let division = sharing.sharing().division
    let flags = [
      ("model", model.model), ("seed", common.givenSeed.map { "\($0)" }),
      ("precision", common.givenPrecision?.rawValue),
    ]
    let study = try Study(
      path: file,
      defaults: flags.compactMap { name, value in value.map { StudyOption(name: name, value: $0) } },
      seed: common.seed)
    var progress: ProgressLine?
    let results = try study.run(
      in: out, others: anyBuild ? .kept : .refused, threads: common.threadCount, division: division,
      merging: sharing.merge,
      observer: Study.Observer(
        onBegin: { done, total in
          progress = ProgressLine("study", total: total, unit: "solves", options: common)
          progress?.begin(at: Double(done))
        },
        onProgress: { progress?.update($0, $1) }, onAdvice: common.warn, isCancelled: { Interrupt.requested })
    )
    progress?.finish()
    if let shard = division.shard, Interrupt.status == nil {
      let told = SharedWork.told(doneShard: shard, in: out)
      try common.tell(told.text, told.json)
    }
    guard let results else { return Interrupt.status ?? .done }
    try common.tell(results.text, results.json)
    return Interrupt.status ?? common.noResult(results.failure)
  }
}
