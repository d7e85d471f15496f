import AIPO
import ArgumentParser

/// `aipo reconstruct`: the main job.
struct Reconstruct: Verb {
  static let worksOverRanks = true
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
        aipo reconstruct --task deblur --kernel motion:9,30 --observation shaken.png \\
          --sigma 0.01 --out sharp.png
        aipo reconstruct --task superresolve --scale 4 --observation small.png \\
          --model photos.safetensors --out large.png
        aipo reconstruct --task demosaic --pattern RGGB --observation raw.png \\
          --model photos.safetensors --out colours.png
        aipo reconstruct --task ct --angles 60 --sigma 0.2 --observation sinogram.npy \\
          --size 512x512 --model slices.safetensors --out slice.png
        aipo reconstruct --task sense --operator A.npy --observation y.npy \\
          --out images.npy --json
        aipo reconstruct --task sense --measurements 200 --simulate images.idx \\
          --indices 0:24:1 --method aipo,fixed,gaussian --report report.html

      With several methods the method is added to the name of --out:
      out.png becomes out-aipo.png and so on.
      """)

  @OptionGroup(title: "Measurement") var measurement: OperatorOptions
  @OptionGroup(title: "Observation") var observation: ObservationOptions
  @OptionGroup(title: "Solver") var solver: SolverOptions
  @OptionGroup(title: "Output") var output: ReconstructOutputOptions
  @Option(
    help: ArgumentHelp(
      "A folder to keep finished images in: after a stop the same command goes on from there. (default: none)",
      valueName: "folder"))
  var state: OutputPath?

  @OptionGroup var sharing: ShardOptions
  @OptionGroup var model: ModelOptions
  @OptionGroup var common: CommonOptions

  /// The task that the flags say.
  private func task() throws -> ReconstructionTask {
    let task = try ReconstructionTask(measurement, observation, solver, model: model, common: common)
    try task.check()
    return task
  }

  func validate() throws { try usage { try output.files(task().methods).check() } }

  func outputs() throws -> [String?] { try output.files(task().methods).named.map(\.path) }

  func perform() throws -> ExitStatus {
    let task = try task()
    let files = output.files(task.methods)
    let sharing = sharing.sharing(state: state)
    let reconstruction = try Reconstruction(
      task, threads: common.threadCount,
      ranks: sharing.isKept || files.needWholeImages ? OneRank() : Job.ranks)
    common.remark(reconstruction.model.words)
    let work = reconstruction.strips == nil ? try sharing.work() : nil
    let progress = ProgressLine(
      "reconstruct", total: reconstruction.count * task.methods.count, unit: "images", options: common)
    let watch = ReconstructionWatch(
      work: common.observer(progress), isTraced: work != nil || output.report != nil || output.trace != nil,
      onState: { progress.update($2, ReconstructionWatch.words($0, $1)) },
      onEstimate: { progress.update($0, $1) })
    if let work {
      let isShard = work.division.shard != nil
      let outcome = try reconstruction.solve(work, observer: watch) { advices in
        if isShard { common.warn(advices) }
      }
      progress.finish()
      if let status = try common.end(outcome, work) { return status }
    }
    let run = try ReconstructionRun(reconstruction, files: files, command: TypedCommand.text)
    func advise(_ advices: [Advice]) { common.warn(run.advise(advices)) }
    advise(reconstruction.advices)
    Interrupt.whenOverdue { [weak run, common] isUrgent in
      if !isUrgent, let run { _ = try? Self.finish(run, common) }
    }
    if let work {
      try reconstruction.replay(work, advise: advise, take: run.add)
      sharing.clean(work)
    } else {
      try reconstruction.run(0..<reconstruction.count, observer: watch, advise: advise, take: run.add)
    }
    progress.finish()
    return try Self.finish(run, common)
  }

  /// Closes the run, tells what it comes to, and gives the exit code.
  private static func finish(_ run: ReconstructionRun, _ common: CommonOptions) throws -> ExitStatus {
    try run.finish(isInterrupted: Interrupt.requested) { outcome in
      try common.tell(outcome.text, outcome.json)
      return Interrupt.status ?? common.noResult(outcome.failure)
    } ?? .done
  }
}
