import AIPOKernels
import AIPOProblems
import AIPOSolvers

/// What posterior is to be sampled and how: the flags of `aipo posterior`.
///
/// ```swift
/// var task = PosteriorTask(ReconstructionTask(.denoise))
/// task.problem.observation = "noisy.png"
/// task.problem.sigma = 0.1
/// let images = try PosteriorSampling(task).run()
/// ```
public struct PosteriorTask: Hashable, Sendable {
  /// What was observed and how it was measured; of how it is solved, `lambda` and `flowShare`, which are 1 where they are
  /// `auto`.
  public var problem: ReconstructionTask
  /// How it is sampled. `seed`, `lambda` and `flowShare` are the problem's.
  public var sampling = PosteriorOptions()

  public init(_ problem: ReconstructionTask) { self.problem = problem }

  /// The sampler's options with those that the problem decides.
  var options: PosteriorOptions {
    var options = sampling
    options.seed = problem.seed
    options.lambda = problem.lambda.number ?? 1
    options.flowShare = problem.flowShare.number ?? 1
    return options
  }

  /// What decided the results, for JSON and reports.
  var settings: [(String, JSONValue)] {
    let solving: Set = [
      "method", "path", "space", "corrector", "predictor", "init", "probes", "tolerance", "epsilon",
      "maxEvaluations",
      "restarts", "penalty", "lambda", "flowShare",
    ]
    let options = options
    return problem.settings.filter { !solving.contains($0.0) } + [
      ("lambda", problem.lambda == .evidence ? "evidence" : .number(options.lambda)),
      ("flowShare", .number(options.flowShare)),
      ("sampler", .string(options.sampler.rawValue)),
      ("space", options.space.map { .string($0.rawValue) } ?? "auto"),
      ("chains", .int(options.chains)), ("draws", .int(options.drawCount)), ("warmup", .int(options.warmUp)),
      ("thin", .int(options.thin)), ("level", .number(options.level)),
    ]
  }
}
