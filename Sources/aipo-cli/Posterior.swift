import AIPO
import ArgumentParser

/// `aipo posterior`: how sure a reconstruction is.
struct Posterior: Verb {
  static let worksOverRanks = true
  static let configuration = CommandConfiguration(
    abstract: "Draw the images that may lie behind an observation: mean, deviation, intervals.",
    discussion: """
      Samples p(x | y), in proportion to p(y | x) p(x), by Markov chains with a
      Metropolis test, from draws of the prior, and says whether they agree. The
      flags of the measurement are those of reconstruct. The prior's weight is 1, and
      the flow's is all of it, unless told otherwise; the density that was sampled is
      named. Where chains disagree no interval is given.

      Examples:
        aipo posterior --task denoise --observation noisy.png --sigma 0.1 \\
          --out mean.png --report report.html
        aipo posterior --task inpaint --observation holes.npy --mask mask.png \\
          --out mean.npy --save-draws draws.npz --animation draws.png
        aipo posterior --task sense --measurements 200 --simulate images.idx \\
          --indices 5 --draws 4000 --json

      --out mean.png writes the mean; deviation and quantiles go beside it, as
      mean-sd.png and mean-q5.png. A PNG shows four times the deviations.
      """)

  @OptionGroup(title: "Measurement") var measurement: OperatorOptions
  @OptionGroup(title: "Observation") var observation: ObservationOptions
  @OptionGroup(title: "Density") var density: DensityOptions
  @OptionGroup(title: "Sampling") var sampling: SamplingOptions
  @OptionGroup(title: "Output") var output: PosteriorOutputOptions
  @Option(
    help: ArgumentHelp(
      """
      A folder to keep in how far it is, once the warm-up is over: after a stop the same command goes on from there, and ends \
      with the same bytes. More --draws go on, too. (default: none)
      """, valueName: "folder"))
  var state: OutputPath?

  @OptionGroup var sharing: ShardOptions
  @OptionGroup var model: ModelOptions
  @OptionGroup var common: CommonOptions

  private func task() throws -> PosteriorTask {
    let problem = try ReconstructionTask(measurement, observation, density, model: model, common: common)
    try problem.check()
    var task = PosteriorTask(problem)
    try sampling.set(in: &task.sampling)
    return task
  }

  func validate() throws { try usage { try output.files.check(task()) } }

  func outputs() throws -> [String?] { try output.files.named(task()).map(\.path) }

  func perform() throws -> ExitStatus {
    var sampling = try PosteriorSampling(task(), threads: common.threadCount)
    common.remark(sampling.model.words)
    let sharing = sharing.sharing(state: state)
    let work = try sharing.work().flatMap { $0.division.isDivided || !$0.merging.isEmpty ? $0 : nil }
    let progress = ProgressLine("posterior", total: sampling.count, unit: "images", options: common)
    if let work {
      let outcome = try sampling.sample(
        work, observer: common.observer(progress), onProgress: { progress.update($0, $1) },
        advise: { if work.division.shard != nil { common.warn($0) } })
      progress.finish()
      if let status = try common.end(outcome, work) { return status }
    }
    if let folder = work?.folder ?? state?.path { try sampling.keepState(in: folder) }
    let run = try PosteriorRun(sampling, files: output.files, command: TypedCommand.text)
    common.warn(run.advise(sampling.advices))
    Interrupt.whenOverdue { [weak run, common] isUrgent in
      if !isUrgent, let run { _ = try? Self.finish(run, common) }
    }
    try sampling.run(
      observer: common.observer(progress),
      onProgress: { progress.update($0, $1) }, advise: { common.warn(run.advise($0)) },
      take: { common.warn(try run.add($0)) })
    progress.finish()
    if let work { sharing.clean(work) }
    return try Self.finish(run, common)
  }

  /// Closes the run, tells what it comes to, and gives the exit code.
  private static func finish(_ run: PosteriorRun, _ common: CommonOptions) throws -> ExitStatus {
    try run.finish(isInterrupted: Interrupt.requested) { outcome in
      try common.tell(outcome.text, outcome.json)
      return Interrupt.status ?? .done
    } ?? .done
  }
}

/// Which density is sampled.
struct DensityOptions: SettingFlags {
  @Option(parsing: .unconditional, help: .key("lambda")) var lambda: String?
  @Option(parsing: .unconditional, help: .key("flow-share")) var flowShare: String?
}

/// How it is sampled.
struct SamplingOptions: SettingFlags {
  typealias Settings = PosteriorOptions

  @Option(help: .key("sampler", of: Settings.self), completion: .key("sampler", of: Settings.self))
  var sampler: String?
  @Option(help: .key("space", of: Settings.self), completion: .key("space", of: Settings.self))
  var space: String?
  @Option(help: .key("chains", of: Settings.self)) var chains: String?
  @Option(help: .key("draws", of: Settings.self)) var draws: String?
  @Option(help: .key("warmup", of: Settings.self)) var warmup: String?
  @Option(help: .key("thin", of: Settings.self)) var thin: String?
  @Option(help: .key("quantiles", of: Settings.self)) var quantiles: String?
  @Option(help: .key("level", of: Settings.self)) var level: String?
  @Option(parsing: .unconditional, help: .key("exceeds", of: Settings.self)) var exceeds: String?
}

/// What a run leaves behind.
struct PosteriorOutputOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      """
      The mean images: .png (clipped, a grid where several), .tif, .nii, .nii.gz, .npy or .npz. Deviations go beside them \
      with -sd in the name, quantiles with -q5 and the like (NaN, in a PNG black, where chains disagree), probabilities of --exceeds with -exceeds. \
      (default: none)
      """, valueName: "file"))
  var out: OutputPath?

  @Option(
    name: .customLong("save-draws"),
    help: ArgumentHelp(
      """
      The draws that are kept, at most 4000 of a chain: an NPZ of an array [chain, draw, h, w, c] an image, and one of the \
      functionals, as ArviZ takes them. (default: none)
      """, valueName: "file"))
  var draws: OutputPath?

  @Option(
    name: .customLong("save-modes"),
    help: ArgumentHelp(
      """
      The means of the modes, where the draws lie apart in several ways, the heaviest first: an NPZ of an array \
      [mode, h, w, c] an image, and one of their weights (NaN where chains don't go between them). (default: none)
      """, valueName: "file"))
  var modes: OutputPath?

  @Option(
    help: ArgumentHelp(
      "A report in one HTML file: mean, deviation, draws, a line with its band, diagnostics. (default: none)",
      valueName: "file"))
  var report: OutputPath?

  @Option(
    help: ArgumentHelp(
      "Draws of the first image one after another: a PNG that moves. (default: none)", valueName: "file"))
  var animation: OutputPath?

  var files: PosteriorFiles {
    var files = PosteriorFiles()
    (files.mean, files.draws, files.modes) = (out?.path, draws?.path, modes?.path)
    (files.report, files.animation) = (report?.path, animation?.path)
    return files
  }
}
