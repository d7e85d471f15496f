import AIPOPriors
import AIPOProblems
import AIPOSolvers

/// What was done to the image.
public enum TaskKind: String, CaseIterable, Sendable {
  /// `y = x + e`
  case denoise
  /// `y = A x + e`
  case sense
  /// `y = x + e` on the pixels of a mask
  case inpaint
  /// `y = k ∗ x + e`
  case deblur
  /// y is every k-th pixel of a blurred x, and noise
  case superresolve
  /// y is one colour of every pixel, and noise
  case demosaic
  /// y mixes the channels of every pixel, and noise
  case unmix
  /// y integrates x along rays, and noise
  case ct
  /// y samples the Fourier transform of x, and noise
  case mri
  /// `y = |A x|² + e`
  case phase
}

/// A number, or `auto`.
public enum NumberOrAuto: Hashable, Sendable, LosslessStringConvertible, ExpressibleByFloatLiteral {
  case number(Double)
  case auto

  public init?(_ text: String) {
    if text == "auto" {
      self = .auto
    } else if let value = Double(text) {
      self = .number(value)
    } else {
      return nil
    }
  }

  public init(floatLiteral value: Double) { self = .number(value) }

  public var description: String { number.map(\.description) ?? "auto" }

  public var number: Double? { if case .number(let value) = self { value } else { nil } }
}

/// The weight of the prior.
public enum LambdaSetting: Hashable, Sendable, LosslessStringConvertible, ExpressibleByFloatLiteral {
  case number(Double)
  /// Chosen without the truth.
  case auto
  /// Of the greatest evidence, by draws of each image's posterior and of the prior.
  case evidence

  public init?(_ text: String) {
    switch NumberOrAuto(text) {
    case .number(let value) where value > 0 && value.isFinite: self = .number(value)
    case .auto: self = .auto
    case nil where text == "evidence": self = .evidence
    default: return nil
    }
  }

  public init(floatLiteral value: Double) { self = .number(value) }

  public var description: String { number.map(\.description) ?? (self == .auto ? "auto" : "evidence") }

  public var number: Double? { if case .number(let value) = self { value } else { nil } }
}

/// The law of the measurements' noise.
public enum NoiseChoice: Hashable, Sendable, LosslessStringConvertible {
  case gaussian, laplace, student, poisson, outliers
  /// A flow that was trained on noise, as a model file.
  case flow(String)

  private static let named: [(String, NoiseChoice)] = [
    ("gaussian", .gaussian), ("laplace", .laplace), ("student", .student), ("poisson", .poisson),
    ("outliers", .outliers),
  ]

  package static let names = named.map(\.0)

  public init?(_ text: String) {
    if text.hasPrefix("flow:"), text != "flow:" {
      self = .flow(String(text.dropFirst("flow:".count)))
    } else if let (_, choice) = Self.named.first(where: { $0.0 == text }) {
      self = choice
    } else {
      return nil
    }
  }

  public var description: String {
    if case .flow(let path) = self { return "flow:\(path)" }
    return Self.named.first { $0.1 == self }?.0 ?? ""
  }
}

/// The deviation of the noise.
public enum SigmaChoice: Hashable, Sendable, LosslessStringConvertible, ExpressibleByFloatLiteral {
  case number(Double)
  /// Estimated from each image.
  case auto
  /// Of the greatest evidence, by draws of each image's posterior.
  case evidence
  /// An NPY with a deviation a measurement.
  case file(String)

  public init?(_ text: String) {
    if text.hasSuffix(".npy") {
      self = .file(text)
    } else if text == "evidence" {
      self = .evidence
    } else {
      switch NumberOrAuto(text) {
      // Its square and the inverse of that must be numbers, too.
      case .number(let value) where (1e-150...1e150).contains(value): self = .number(value)
      case .auto: self = .auto
      default: return nil
      }
    }
  }

  public init(floatLiteral value: Double) { self = .number(value) }

  /// Whether each image tells its own.
  public var isEstimated: Bool { self == .auto || self == .evidence }

  public var description: String {
    switch self {
    case .number(let value): value.description
    case .auto: "auto"
    case .evidence: "evidence"
    case .file(let path): path
    }
  }
}

/// The weights of a blur, or of pixels that are summed up to a larger one.
public enum KernelChoice: Hashable, Sendable, CustomStringConvertible {
  case gaussian(Double)
  case motion(length: Double, angle: Double)
  case disk(Double)
  case box, bilinear, bicubic
  /// A matrix of weights.
  case file(String)

  private static let named: [(String, KernelChoice)] = [
    ("box", .box), ("bilinear", .bilinear), ("bicubic", .bicubic),
  ]

  /// Throws `invalidParameter` where the numbers behind a name are wrong.
  public init(parsing text: String) throws(ProblemError) {
    let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
    let numbers = parts.count == 2 ? parts[1].split(separator: ",").map { Double($0) ?? .nan } : []
    switch (parts[0], numbers.count) {
    case ("gaussian", 1):
      self = .gaussian(numbers[0])
      _ = try BlurKernel.gaussian(deviation: numbers[0])
    case ("motion", 2):
      self = .motion(length: numbers[0], angle: numbers[1])
      _ = try BlurKernel.motion(length: numbers[0], angle: numbers[1])
    case ("disk", 1):
      self = .disk(numbers[0])
      _ = try BlurKernel.disk(radius: numbers[0])
    case ("gaussian", _), ("motion", _), ("disk", _):
      throw .invalidParameter(
        name: "the kernel", value: Double(numbers.count),
        expected: "gaussian:S, motion:LENGTH,ANGLE or disk:R")
    default: self = Self.named.first { $0.0 == text }?.1 ?? .file(text)
    }
  }

  public var description: String {
    /// All digits, but none behind a whole number.
    func text(_ value: Double) -> String { Int(exactly: value)?.description ?? value.description }
    return switch self {
    case .gaussian(let deviation): "gaussian:\(text(deviation))"
    case .motion(let length, let angle): "motion:\(text(length)),\(text(angle))"
    case .disk(let radius): "disk:\(text(radius))"
    case .file(let path): path
    case .box, .bilinear, .bicubic: Self.named.first { $0.1 == self }?.0 ?? ""
    }
  }
}

/// What random measurements are made by.
public enum EnsembleChoice: Hashable, Sendable, CustomStringConvertible {
  /// A matrix of normal entries.
  case gaussian
  case transform(SensingTransform)
  /// Coded diffraction by so many random masks.
  case coded(Int)

  public static let names = ["gaussian"] + SensingTransform.allCases.map(\.rawValue) + ["fourier:N"]

  public init?(_ text: String) {
    if text == "gaussian" {
      self = .gaussian
    } else if let transform = SensingTransform(rawValue: text) {
      self = .transform(transform)
    } else if text.hasPrefix("fourier:"), let count = Int(text.dropFirst("fourier:".count)),
      (1...1024).contains(count)
    {
      self = .coded(count)
    } else {
      return nil
    }
  }

  public var description: String {
    switch self {
    case .gaussian: "gaussian"
    case .transform(let transform): transform.rawValue
    case .coded(let count): "fourier:\(count)"
    }
  }
}

/// How the rays of a scanner run.
public enum GeometryChoice: Hashable, Sendable, CustomStringConvertible {
  case parallel
  case fan(source: Double, detector: Double)

  public init?(_ text: String) {
    if text == "parallel" {
      self = .parallel
      return
    }
    let numbers = text.dropFirst("fan:".count).split(separator: ",").compactMap { Double($0) }
    guard text.hasPrefix("fan:"), numbers.count == 2, numbers[0] > 0, numbers[1] >= 0,
      numbers.allSatisfy(\.isFinite)
    else { return nil }
    self = .fan(source: numbers[0], detector: numbers[1])
  }

  public var description: String {
    if case .fan(let source, let detector) = self { "fan:\(source),\(detector)" } else { "parallel" }
  }

  var beam: ScanGeometry.Beam {
    if case .fan(let source, let detector) = self {
      .fan(source: source, detector: detector)
    } else {
      .parallel
    }
  }
}

/// What is seen: by a pattern, or by a file whose numbers aren't zero there.
public enum PatternOrFile<Pattern: Hashable & Sendable & CustomStringConvertible>: Hashable, Sendable,
  CustomStringConvertible
{
  case pattern(Pattern)
  case file(String)

  public var description: String {
    switch self {
    case .pattern(let pattern): pattern.description
    case .file(let path): path
    }
  }
}

/// Which samples of k-space are taken; a file is an array.
public typealias SamplingChoice = PatternOrFile<SamplingPattern>

extension SamplingChoice {
  public init?(_ text: String) {
    if let pattern = SamplingPattern(text) {
      self = .pattern(pattern)
    } else if text.isEmpty || ["random:", "lines:"].contains(where: text.hasPrefix) {
      return nil
    } else {
      self = .file(text)
    }
  }
}

/// The angles of a scan, in degrees.
public enum AnglesChoice: Hashable, Sendable, CustomStringConvertible {
  /// So many, spread over a half turn, or over a full one for a fan.
  case count(Int)
  case range(start: Double, stop: Double, step: Double)
  /// An array of them.
  case file(String)

  private static let most = 100_000

  public init?(_ text: String) {
    let numbers = text.split(separator: ":", omittingEmptySubsequences: false).map { Double($0) ?? .nan }
    if let count = Int(text) {
      guard (1...Self.most).contains(count) else { return nil }
      self = .count(count)
    } else if numbers.count == 3, numbers.allSatisfy(\.isFinite) {
      let (start, stop, step) = (numbers[0], numbers[1], numbers[2])
      guard step != 0, (stop - start) / step > 0, (stop - start) / step <= Double(Self.most) else {
        return nil
      }
      self = .range(start: start, stop: stop, step: step)
    } else if text.isEmpty {
      return nil
    } else {
      self = .file(text)
    }
  }

  public var description: String {
    switch self {
    case .count(let count): "\(count)"
    case .range(let start, let stop, let step): "\(start):\(stop):\(step)"
    case .file(let path): path
    }
  }

  /// In degrees; nil where a file holds them.
  func values(turn: Double) -> [Double]? {
    switch self {
    case .count(let count): (0..<count).map { turn * Double($0) / Double(count) }
    case .range(let start, let stop, let step):
      (0..<Int(((stop - start) / step - 1e-9).rounded(.up))).map { start + step * Double($0) }
    case .file: nil
    }
  }
}

/// How the channels of a pixel are mixed.
public enum MixingChoice: Hashable, Sendable, CustomStringConvertible {
  /// To a grey picture.
  case grey
  /// By a matrix of bands × channels.
  case file(String)

  public init(_ text: String) { self = text == "grey" ? .grey : .file(text) }

  public var description: String { if case .file(let path) = self { path } else { "grey" } }
}

/// Which pixels are observed; a file is an image.
public typealias MaskChoice = PatternOrFile<MaskPattern>

extension MaskChoice {
  public init(parsing text: String) throws(ProblemError) {
    if ["center:", "box:", "random:"].contains(where: text.hasPrefix) {
      self = .pattern(try MaskPattern(parsing: text))
    } else {
      self = .file(text)
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
