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

  @OptionGroup var problems: CalibrationOptions

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
    try sampling.set(in: &task.sampling)
    try problems.set(in: &task)
    try task.check()
    return task
  }

  func validate() throws { try usage { _ = try task() } }

  func outputs() -> [String?] { [report?.path] }

  func perform() throws -> ExitStatus {
    let run = try CalibrationRun(task(), threads: common.threadCount)
    common.remark(run.model.words)
    let sharing = sharing.sharing(state: state)
    var members: [(String, JSONValue)] = []
    let work = try sharing.work()
    if run.task.problems > 0 {
      let (outcome, result) = try common.observing(
        "calibrate", total: run.task.problems, unit: "problems", { try run.run(work, observer: $0) })
      guard let result else { return try work.flatMap { try common.end(outcome, $0) } ?? .done }
      if let work { sharing.clean(work) }
      if let report { try result.write(to: report.path, of: run, command: TypedCommand.text) }
      try common.print(result.text)
      members += result.json.members
    }
    if let sampling = try run.realImages(), !Interrupt.requested {
      let images = try common.observing("coverage", total: sampling.count, unit: "images", sampling.run)
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

struct CalibrationOptions: SettingFlags {
  @Option(help: .key("problems", of: CalibrationTask.self)) var problems: String?
  @Option(help: .key("ranks", of: CalibrationTask.self)) var ranks: String?
  @Option(help: .key("from", of: CalibrationTask.self), completion: .key("from", of: CalibrationTask.self))
  var from: String?
}
