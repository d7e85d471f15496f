import AIPO
import ArgumentParser

/// The law of the measurements' noise.
enum NoiseChoice: ExpressibleByArgument, Hashable, CustomStringConvertible {
  case gaussian, laplace, student, poisson, outliers
  /// A flow that was trained on noise.
  case flow(String)

  private static let named: [(String, NoiseChoice)] = [
    ("gaussian", .gaussian), ("laplace", .laplace), ("student", .student), ("poisson", .poisson),
    ("outliers", .outliers),
  ]

  init?(argument: String) {
    if argument.hasPrefix("flow:"), argument != "flow:" {
      self = .flow(String(argument.dropFirst("flow:".count)))
    } else if let (_, choice) = Self.named.first(where: { $0.0 == argument }) {
      self = choice
    } else {
      return nil
    }
  }

  static var allValueStrings: [String] { named.map(\.0) + ["flow:FILE"] }
  static var defaultCompletionKind: CompletionKind { .list(named.map(\.0) + ["flow:"]) }

  var description: String {
    if case .flow(let path) = self { return "flow:\(path)" }
    return Self.named.first { $0.1 == self }?.0 ?? ""
  }
}

/// The deviation of the noise.
enum SigmaChoice: ExpressibleByArgument, Hashable, CustomStringConvertible {
  case one(NumberOrAuto)
  /// An NPY with a deviation a measurement.
  case file(String)

  init?(argument: String) {
    if argument.hasSuffix(".npy") {
      self = .file(argument)
    } else if let value = NumberOrAuto(argument: argument) {
      self = .one(value)
    } else {
      return nil
    }
  }

  var description: String {
    switch self {
    case .one(let value): value.description
    case .file(let path): path
    }
  }
}

/// What is known about the noise.
struct NoiseOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      """
      The law of the noise: gaussian, laplace, student, poisson (the observation is counts over --peak, so that \
      white is 1; with --counts it is the counts), outliers (a share of the measurements lost), or flow:FILE, a \
      flow trained on noise. (default: gaussian)
      """, valueName: "model"), completion: NoiseChoice.defaultCompletionKind)
  var noise: NoiseChoice = .gaussian

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      """
      Standard deviation of the noise of a measurement, with black at 0 and white at 1: 25 grey levels of 255 are \
      0.098. An NPY gives each measurement its own. auto estimates it from each image, which needs noise that one \
      can see, and for sense as many measurements as pixels; --simulate then adds noise of the default. For \
      student it is the scale, for poisson the read noise. (default: 0.1 for denoise, 0.01 for inpaint, 0.1/√m \
      for sense; 0 for poisson)
      """, valueName: "s"))
  var sigma: SigmaChoice?

  @Option(
    help: ArgumentHelp(
      "Covariance of gaussian noise in place of --sigma, an NPY of shape [m, m]. (default: none)",
      valueName: "file"), completion: .file(extensions: ["npy"]))
  var noiseCovariance: String?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      """
      How far the tip of laplace is rounded, in units of its scale. Near 0 the density is Laplace's own, and the \
      most probable image keeps much of the noise. (default: 1)
      """, valueName: "r"))
  var tip: Double?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Degrees of freedom of student noise. (default: 3)", valueName: "n"))
  var nu: Double?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Mean count of a white pixel under poisson noise. (default: 30)", valueName: "n"))
  var peak: Double?

  @Flag(
    help: ArgumentHelp(
      "The observation holds the counts themselves under poisson noise, 0, 1, 2, …: they are divided by --peak."
    ))
  var counts = false

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      """
      Share of the measurements that outliers noise replaces by 0 or 1, and of which it assumes nothing but \
      that they lie between (for sense: the least and the greatest measurement). (default: 0.1)
      """, valueName: "share"))
  var outliers: Double?

  /// What observed values are divided by.
  var countScale: Double { counts ? peak ?? Self.defaults.peak : 1 }

  static let defaults = (tip: 1.0, nu: 3.0, peak: 30.0, outliers: 0.1)

  func validate() throws {
    // Its square and the inverse of that must be numbers, too.
    if case .one(.number(let value)) = sigma, !(1e-150...1e150).contains(value) {
      throw ValidationError(
        "--sigma is \(value), expected a number from 1e-150 to 1e150, auto, or an .npy file")
    }
    for (flag, value, own) in [
      ("--tip", tip, NoiseChoice.laplace), ("--nu", nu, .student), ("--peak", peak, .poisson),
      ("--outliers", outliers, .outliers),
    ] where value != nil && noise != own {
      throw ValidationError("\(flag) goes with --noise \(own)")
    }
    if counts, noise != .poisson { throw ValidationError("--counts goes with --noise poisson") }
    try Self.require("--tip", tip, in: LaplaceNoise.tipRange)
    try Self.require("--nu", nu, in: StudentNoise.degreesRange)
    try Self.require("--peak", peak, in: PoissonNoise.peakRange)
    try Self.require("--outliers", outliers, in: OutlierNoise.shareRange)
    if noise != .gaussian {
      if noiseCovariance != nil { throw ValidationError("--noise-covariance goes with --noise gaussian") }
      switch sigma {
      case .one(.auto): throw ValidationError("--sigma auto goes with --noise gaussian")
      case .file: throw ValidationError("--sigma with a file goes with --noise gaussian")
      default: break
      }
      if case .flow = noise, sigma != nil {
        throw ValidationError("--sigma can't be given with --noise flow, which knows its noise")
      }
    } else if noiseCovariance != nil, sigma != nil {
      throw ValidationError("--sigma and --noise-covariance exclude each other")
    }
  }

  private static func require(_ flag: String, _ value: Double?, in range: ClosedRange<Double>) throws {
    guard let value, !range.contains(value) else { return }
    throw ValidationError(
      "\(flag) is \(value), expected a number from \(range.lowerBound) to \(range.upperBound)")
  }

  /// Throws where the noise doesn't go with the task.
  func validate(task: TaskName, operatorFile: String?) throws {
    if case .flow = noise, task == .inpaint {
      throw ValidationError(
        "--noise flow gives the density of whole observations: it goes with denoise or sense")
    }
    if noise == .poisson, task == .sense, operatorFile == nil {
      throw ValidationError(
        "--noise poisson needs measurements that can't be negative: an --operator of such entries")
    }
  }
}
