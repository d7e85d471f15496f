import AIPO
import ArgumentParser

/// `aipo calibrate`: whether a sampler's draws are what they claim to be.
struct Calibrate: Verb {
  static let worksOverRanks = true
  static let configuration = CommandConfiguration(
    abstract: "Check a sampler on made problems whose truth is known, and its intervals on real images.",
    discussion: """
      Images are drawn from the prior and measured as the flags say; the posterior of
      each is sampled, and the truth is ranked among the draws. The ranks are uniform
      if the sampler is right. With --simulate the intervals are tried on real images
      as well, before and after a correction that half of them give.

      Examples:
        aipo calibrate --task denoise --sigma 0.1 --problems 200 --report calibration.html
        aipo calibrate --task sense --measurements 200 --from truth --problems 1000
        aipo calibrate --task inpaint --mask random:0.5 --sampler mala --json
        aipo calibrate --task denoise --sigma 0.1 --problems 0 --simulate images.idx
      """)

  @OptionGroup(title: "Measurement") var measurement: OperatorOptions
  @OptionGroup(title: "Observation") var observation: ObservationOptions
  @OptionGroup(title: "Sampling") var sampling: SamplingOptions

  @Option(help: ArgumentHelp("Made problems. 0: none.", valueName: "n"))
  var problems = 100

  @Option(help: ArgumentHelp("Draws that each truth is ranked among.", valueName: "n"))
  var ranks = 31

  @Option(
    help: ArgumentHelp(
      """
      chains: from draws of the prior, as posterior does. truth: from the truth, which is itself a draw of its posterior, with \
      step and mass of one warm-up for all: quick, and exact for every sampler that leaves the posterior as it is, but it \
      doesn't say whether chains get there.
      """, valueName: "start"))
  var from = CalibrationStart.chains

  @Option(help: ArgumentHelp("A page with table and picture. (default: none)", valueName: "file"))
  var report: OutputPath?

  @Option(
    help: ArgumentHelp(
      "A folder to keep finished problems in: after a stop the same command goes on from there. (default: none)",
      valueName: "folder"))
  var state: OutputPath?

  @OptionGroup var sharing: ShardOptions
  @OptionGroup var model: ModelOptions
  @OptionGroup var common: CommonOptions

  private func task() throws -> CalibrationTask {
    var problem = ReconstructionTask()
    do {
      try measurement.set(in: &problem)
      try observation.set(in: &problem)
      try problem.checkCalibration()
    } catch let error as TaskError { throw ValidationError(error.description) }
    problem.model = model.model
    problem.seed = common.seed
    problem.precision = common.precision
    var task = CalibrationTask(problem)
    let usual = task.sampling
    try sampling.set(in: &task.sampling)
    task.sampling.draws = task.sampling.draws ?? usual.draws
    (task.problems, task.ranks, task.start) = (problems, ranks, from)
    return task
  }

  func validate() throws {
    try require("--problems", problems, in: 0...1_000_000)
    try require("--ranks", ranks, in: 1...10_000)
    let task = try task()
    if from == .chains, problems > 0, task.sampling.chains * task.sampling.drawCount < ranks {
      throw ValidationError("--ranks is \(ranks), expected at most the draws of all chains")
    }
    if problems == 0, task.problem.simulate == nil {
      throw ValidationError("--problems is 0, and there is no --simulate: there is nothing to do")
    }
  }

  func perform() throws -> ExitStatus {
    let task = try task()
    try OutputPath.checkWritable([report])
    Interrupt.install()
    try common.requireMemory()
    let run = try CalibrationRun(task, threads: common.threadCount)
    common.remark(run.model.words)
    var members: [(String, JSONValue)] = []
    let work = try sharing.work(state: state?.path)
    if problems > 0 {
      let progress = ProgressLine("calibrate", total: problems, unit: "problems", options: common)
      let result: CalibrationResult
      if let work {
        let (outcome, whole) = try run.run(work, observer: common.observer(progress))
        progress.finish()
        guard let whole else { return try sharing.end(outcome, work, common) ?? .done }
        result = whole
        sharing.clean(work, state: state?.path)
      } else {
        result = try run.run(observer: common.observer(progress))
        progress.finish()
      }
      if let report {
        try AtomicFile.write(
          result.html(
            command: TypedCommand.text,
            provenance: [("model", .string(run.model.source.name)), ("seed", .unsigned(common.seed))]),
          to: report.path)
      }
      try common.print(result.text)
      members += result.json.members
    }
    if task.problem.simulate != nil, !Interrupt.requested {
      var posterior = PosteriorTask(task.problem)
      posterior.sampling = task.sampling
      let sampling = try PosteriorSampling(posterior, model: run.model, threads: common.threadCount)
      let progress = ProgressLine("coverage", total: sampling.count, unit: "images", options: common)
      let images = try sampling.run(observer: common.observer(progress))
      progress.finish()
      if let coverage = CoverageResult(images, level: task.sampling.level) {
        try common.print(coverage.text)
        members.append(("real", coverage.json))
      } else {
        common.warn("fewer than two real images: nothing can be said of intervals")
      }
    }
    try common.printJSON(.object(members), by: run.model.source)
    return Interrupt.status ?? .done
  }
}

extension CalibrationStart: ExpressibleByArgument {}
