import AIPO
import ArgumentParser

/// What was done to the image.
enum TaskName: String, CaseIterable, ExpressibleByArgument {
  /// `y = x + e`
  case denoise
  /// `y = A x + e`
  case sense
  /// `y = x + e` on the pixels of a mask
  case inpaint
}

extension ReconstructionMethod: ExpressibleByArgument {}
extension SolutionSpace: ExpressibleByArgument {}
extension CorrectorChoice: ExpressibleByArgument {}
extension PredictorChoice: ExpressibleByArgument {}

/// The starts that can be named; without a name the operator decides.
extension StartChoice: ExpressibleByArgument {
  public init?(argument: String) {
    guard argument != StartChoice.auto.rawValue else { return nil }
    self.init(rawValue: argument)
  }

  public static var allValueStrings: [String] {
    allCases.map(\.rawValue).filter { $0 != StartChoice.auto.rawValue }
  }
}

/// A positive number, or `auto`.
enum NumberOrAuto: ExpressibleByArgument, Hashable, CustomStringConvertible {
  case number(Double)
  case auto

  init?(argument: String) {
    if argument == "auto" {
      self = .auto
    } else if let value = Double(argument) {
      self = .number(value)
    } else {
      return nil
    }
  }

  var description: String {
    switch self {
    case .number(let value): value.description
    case .auto: "auto"
    }
  }
}

/// Several methods, `aipo,fixed`.
struct MethodList: ExpressibleByArgument, CustomStringConvertible {
  let methods: [ReconstructionMethod]

  init(_ methods: [ReconstructionMethod]) { self.methods = methods }

  init?(argument: String) {
    var methods: [ReconstructionMethod] = []
    for name in argument.split(separator: ",", omittingEmptySubsequences: false) {
      guard let method = ReconstructionMethod(rawValue: String(name)), !methods.contains(method) else {
        return nil
      }
      methods.append(method)
    }
    self.methods = methods
  }

  static var allValueStrings: [String] { ReconstructionMethod.allCases.map(\.rawValue) }
  static var defaultCompletionKind: CompletionKind { .list(allValueStrings) }

  var description: String { methods.map(\.rawValue).joined(separator: ",") }
}

/// The pixels that are missing.
enum MaskChoice: Sendable {
  case pattern(MaskPattern)
  /// An image in which the observed pixels aren't zero.
  case file(String)

  init(parsing text: String) throws(ProblemError) {
    if ["center:", "box:", "random:"].contains(where: text.hasPrefix) {
      self = .pattern(try MaskPattern(parsing: text))
    } else {
      self = .file(text)
    }
  }

  var description: String {
    switch self {
    case .pattern(let pattern): pattern.description
    case .file(let path): path
    }
  }

  /// For a heading.
  var words: String {
    switch self {
    case .pattern(.center(let side)): "a hole of \(side)×\(side) in the middle"
    case .pattern(.box(_, _, let height, let width)): "a hole of \(height)×\(width)"
    case .pattern(.random(let share)): "\(fixed(100 * share, 0)) % of the pixels missing"
    case .file: "pixels of a mask missing"
    }
  }
}

/// What is observed: the flags that say which images, and how they came to be as they are.
struct ObservationOptions: ParsableArguments {
  @Option(help: ArgumentHelp("What was done to the image.", valueName: "task"))
  var task: TaskName

  @Option(
    help: ArgumentHelp(
      "The observation: images, or for sense an NPY of shape [m] or [n,m].", valueName: "file"),
    completion: .file())
  var observation: String?

  @Option(
    name: .customLong("operator"),
    help: ArgumentHelp(
      "The matrix of sense, an NPY of shape [m, h*w*c], columns row-major over height, width, channels.",
      valueName: "file"), completion: .file(extensions: ["npy"]))
  var operatorFile: String?

  @Option(
    help: ArgumentHelp(
      "The true images, if they are known, for PSNR and SSIM. (default: unknown)", valueName: "file"),
    completion: .file())
  var truth: String?

  @Option(
    help: ArgumentHelp("An experiment: take these images as truth and simulate.", valueName: "images"),
    completion: .file())
  var simulate: String?

  @Option(
    help: ArgumentHelp(
      """
      The images of --simulate or --observation to take: 5,42,79 or start:stop:step, stop excluded. \
      (default: all)
      """, valueName: "list"))
  var indices: IndexSelection?

  @OptionGroup var noise: NoiseOptions

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "With --simulate, measurements m of sense, by A_ij ~ N(0, 1/m) drawn from the seed.",
      valueName: "m"))
  var measurements: Int?

  @Option(
    help: ArgumentHelp(
      """
      What inpaint misses: center:10, box:y,x,h,w, random:0.5 (a share), or an image that is zero there. An image \
      of the observation's size is cropped and resized with it; one of the model's size is taken as it is.
      """,
      valueName: "mask"), completion: .file(), transform: { try MaskChoice(parsing: $0) })
  var mask: MaskChoice?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      """
      For a mask of more than two values, as a JPEG has: pixels are observed from this share of its greatest \
      value on. (default: such a mask is refused)
      """, valueName: "share"))
  var maskThreshold: Double?

  @OptionGroup var reading: ReadingOptions

  /// How the observation is read where it is images: counts of any type over the peak.
  var measuredReading: ReadingOptions {
    var reading = reading
    guard noise.counts else { return reading }
    // Of exactly all values of a type would mean pixels, with (v + ½)/256.
    let isType = noise.countScale == 255 || noise.countScale == 65535
    reading.range = ValueRange(low: 0, high: isType ? noise.countScale.nextUp : noise.countScale)
    return reading
  }

  func validate() throws {
    if noise.counts, reading.range != nil { throw ValidationError("--counts and --range exclude each other") }
    if task == .sense, observation != nil, reading.range != nil {
      throw ValidationError(
        "--range is of images, and --task sense takes its measurements as they are: scale y, or A")
    }
    switch (observation, simulate) {
    case (nil, nil): throw ValidationError("one of --observation and --simulate is needed")
    case (.some, .some): throw ValidationError("--observation and --simulate exclude each other")
    default: break
    }
    if simulate != nil, truth != nil {
      throw ValidationError("--simulate takes its images as truth, so --truth can't be given")
    }
    if noise.counts, observation == nil { throw ValidationError("--counts goes with --observation") }
    if let maskThreshold {
      guard case .file = mask else {
        throw ValidationError("--mask-threshold goes with a --mask from a file")
      }
      guard maskThreshold > 0, maskThreshold <= 1 else {
        throw ValidationError("--mask-threshold is \(maskThreshold), expected a share above 0, at most 1")
      }
    }
    try noise.validate(task: task, operatorFile: operatorFile)
    if let measurements, measurements < 1 || measurements > 1 << 20 {
      throw ValidationError("--measurements is \(measurements), expected 1 to \(1 << 20)")
    }
    try validateOperator()
  }

  private func validateOperator() throws {
    switch task {
    case .sense:
      if observation != nil, operatorFile == nil {
        throw ValidationError("--task sense with --observation needs --operator")
      }
      if simulate != nil, (operatorFile == nil) == (measurements == nil) {
        throw ValidationError("--task sense with --simulate needs one of --measurements and --operator")
      }
      if observation != nil, measurements != nil {
        throw ValidationError("--measurements goes with --simulate")
      }
      if mask != nil { throw ValidationError("--mask goes with --task inpaint") }
    case .inpaint, .denoise:
      if operatorFile != nil { throw ValidationError("--operator goes with --task sense") }
      if measurements != nil { throw ValidationError("--measurements goes with --task sense") }
      if (task == .inpaint) != (mask != nil) {
        throw ValidationError(
          task == .inpaint ? "--task inpaint needs --mask" : "--mask goes with --task inpaint")
      }
    }
  }
}

/// How it is solved.
struct SolverOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      """
      aipo follows the path. To compare with: fixed (the same objective, without a path), gaussian (a Gaussian \
      prior at λ = 1, in closed form), restarts (the best of several fixed, from draws), latent (over latents, \
      without the log-determinant), tv (total variation), lasso (sparse cosine transform). Several with commas \
      are run on the same data.
      """, valueName: "method"))
  var method = MethodList([.aipo])

  @Option(
    help: ArgumentHelp(
      """
      What changes along the path of aipo. lambda: the weight of the prior, from 0. prior: the prior, from a \
      Gaussian to the flow. noise: both, as if the noise were first stronger than it is. auto: noise, or lambda \
      where the model has no Gaussian. theorem: lambda by gradient descent in the theorem's own steps, which \
      needs --precision float64, a smooth flow and a full-rank operator. curve:λ,t/λ,t/…/1,1: straight lines \
      between corners, in multiples of the targets of λ and t; t = 0 is the Gaussian prior. noise is \
      curve:3,0/3,1/1,1. (default: auto)
      """, valueName: "path"), completion: .list(PathChoice.named.map(\.name) + ["curve:"]),
    transform: { try PathChoice(parsing: $0) })
  var path: PathChoice = .auto

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Weight of the prior. 1 gives the most probable image; less keeps more of the observation. auto chooses it "
        + "without the truth.",
      valueName: "l"))
  var lambda: NumberOrAuto = .auto

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      """
      Share t of the flow in the prior, which is t of the flow's -log p and 1 - t of the Gaussian's. 1 is the \
      flow alone. auto: \(ReconstructionOptions.usualFlowShare), or \
      \(ReconstructionOptions.flowShareOfMissing) where pixels are missing; 1 where --lambda is a number or \
      the model holds no Gaussian.
      """, valueName: "t"))
  var flowShare: NumberOrAuto = .auto

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      """
      Descents of restarts and latent, each from another draw; they share --max-evaluations, and the one with \
      the lowest objective is kept. (default: 8 for restarts; for latent one, from ε = 0)
      """, valueName: "n"))
  var restarts: Int?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Weight of the penalty of tv and lasso, in nats; auto chooses it without the truth.", valueName: "w"))
  var penalty: NumberOrAuto = .auto

  @Option(help: ArgumentHelp("Search over pixels (x) or over latents (z).", valueName: "space"))
  var space: SolutionSpace = .x

  @Option(help: ArgumentHelp("How each step is minimised.", valueName: "name"))
  var corrector: CorrectorChoice = .lbfgs

  @Option(
    help: ArgumentHelp(
      """
      The guess for the next solution along a path: the last one (none), along the line through the last two \
      (secant), or along the tangent, which costs Hessian-vector products of two evaluations each.
      """, valueName: "name"))
  var predictor: PredictorChoice = .secant

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Random probes of the flow’s curvature, for steps of the right length; an evaluation each. 0: none.",
      valueName: "n"))
  var probes = CurvatureProbes().count

  @Option(
    name: .customLong("init"),
    help: ArgumentHelp(
      """
      Where the descent starts: at the observation (A⁺y), zero (the flow's image of zero), random (uniform \
      pixels), prior (a draw), or gaussian (the solution under the Gaussian prior). With --path noise or prior \
      it makes no difference. (default: observed for a full-rank operator, else gaussian)
      """, valueName: "start"))
  var start: StartChoice?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      """
      The descent has converged when the gradient is this part of what it was at the start.
      """, valueName: "t"))
  var tolerance = ToleranceRule().tolerance

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      """
      The descent has converged, too, when \(ToleranceRule().window) steps change the objective by less than \
      this, in nats; 0: never by that.
      """, valueName: "nats"))
  var epsilon = ToleranceRule().epsilon

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Evaluations of the flow (value and gradient) that an image may take; a Hessian-vector product counts 2.",
      valueName: "n"))
  var maxEvaluations = ReconstructionOptions().maximumEvaluations

  func validate() throws {
    if case .number(let value) = lambda, !(value > 0 && value.isFinite) {
      throw ValidationError("--lambda is \(value), expected a positive number or auto")
    }
    if case .number(let share) = flowShare, !(share > 0 && share <= 1) {
      throw ValidationError("--flow-share is \(share), expected a number above 0, at most 1, or auto")
    }
    if case .number(let share) = flowShare, share < 1, path == .theorem {
      throw ValidationError("--path theorem follows the flow alone, so --flow-share is 1")
    }
    guard tolerance > 0, tolerance < 1 else {
      throw ValidationError("--tolerance is \(tolerance), expected a number between 0 and 1")
    }
    guard epsilon >= 0, epsilon.isFinite else {
      throw ValidationError("--epsilon is \(epsilon), expected a finite number from 0 on")
    }
    guard (0...1000).contains(probes) else {
      throw ValidationError("--probes is \(probes), expected 0 to 1000")
    }
    let methods = method.methods
    if case .number(let value) = penalty {
      guard value > 0, value.isFinite else {
        throw ValidationError("--penalty is \(value), expected a positive number or auto")
      }
      guard methods.contains(.tv) || methods.contains(.lasso) else {
        throw ValidationError("--penalty goes with --method tv or lasso")
      }
    }
    if let restarts {
      guard (1...ReconstructionOptions.restartLimit).contains(restarts) else {
        throw ValidationError(
          "--restarts is \(restarts), expected 1 to \(ReconstructionOptions.restartLimit)")
      }
      guard methods.contains(.restarts) || methods.contains(.latent) else {
        throw ValidationError("--restarts goes with --method restarts or latent")
      }
    }
    if methods.contains(.restarts), let start, start != .prior, start != .random {
      throw ValidationError("--init is \(start.rawValue), expected prior or random for --method restarts")
    }
    guard maxEvaluations >= 1 else {
      throw ValidationError("--max-evaluations is \(maxEvaluations), expected 1 or more")
    }
  }

  /// The solver's options for one method.
  func options(
    _ method: ReconstructionMethod, seed: UInt64, indices: [Int], dequantization: Dequantization
  ) -> ReconstructionOptions {
    var options = ReconstructionOptions()
    options.method = method
    options.path = path
    options.lambda =
      switch lambda {
      case .auto: .auto
      case .number(let value): .value(value)
      }
    if case .number(let share) = flowShare { options.flowShare = share }
    options.space = space
    options.start = start ?? .auto
    options.corrector = corrector.corrector
    options.predictor = predictor.predictor
    options.stopRule = ToleranceRule(tolerance: tolerance, epsilon: epsilon)
    options.maximumEvaluations = maxEvaluations
    options.restarts = restarts
    if case .number(let value) = penalty { options.penalty = .value(value) }
    options.seed = seed
    options.domain = dequantization.pixelRange
    options.probes = probes == 0 ? .none : CurvatureProbes(count: probes)
    options.sourceIndices = indices
    return options
  }
}
