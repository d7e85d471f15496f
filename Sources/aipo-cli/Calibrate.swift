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
    let problem = try ReconstructionTask(measurement, observation, model: model, common: common)
    try problem.checkCalibration()
    var task = CalibrationTask(problem)
    let usual = task.sampling
    try sampling.set(in: &task.sampling)
    task.sampling.draws = task.sampling.draws ?? usual.draws
    (task.problems, task.ranks, task.start) = (problems, ranks, from)
    try task.check()
    return task
  }

  func validate() throws { try usage { _ = try task() } }

  var outputs: [OutputPath?] { [report] }

  func perform() throws -> ExitStatus {
    let run = try CalibrationRun(task(), threads: common.threadCount)
    common.remark(run.model.words)
    let sharing = sharing.sharing(state: state)
    var members: [(String, JSONValue)] = []
    let work = try sharing.work()
    if problems > 0 {
      let progress = ProgressLine("calibrate", total: problems, unit: "problems", options: common)
      let (outcome, result) = try run.run(work, observer: common.observer(progress))
      progress.finish()
      guard let result else { return try work.flatMap { try common.end(outcome, $0) } ?? .done }
      if let work { sharing.clean(work) }
      if let report { try result.write(to: report.path, of: run, command: TypedCommand.text) }
      try common.print(result.text)
      members += result.json.members
    }
    if let sampling = try run.realImages(), !Interrupt.requested {
      let progress = ProgressLine("coverage", total: sampling.count, unit: "images", options: common)
      let images = try sampling.run(observer: common.observer(progress))
      progress.finish()
      if let coverage = CoverageResult(images, level: run.task.sampling.level) {
        try common.print(coverage.text)
        members.append(("real", coverage.json))
      } else {
        common.warn("fewer than two real images: nothing can be said of intervals")
      }
    }
    try common.tell(nil, .object(members), by: run.model.source)
    return Interrupt.status ?? .done
  }
}

extension CalibrationStart: ExpressibleByArgument {}
