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
  /// An NPY with a deviation a measurement.
  case file(String)

  public init?(_ text: String) {
    if text.hasSuffix(".npy") {
      self = .file(text)
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

  public var description: String {
    switch self {
    case .number(let value): value.description
    case .auto: "auto"
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

/// How the channels of a pixel are mixed.
public enum MixingChoice: Hashable, Sendable, CustomStringConvertible {
  /// To a grey picture.
  case grey
  /// By a matrix of bands × channels.
  case file(String)

  public init(_ text: String) { self = text == "grey" ? .grey : .file(text) }

  public var description: String { if case .file(let path) = self { path } else { "grey" } }
}

/// The pixels that are missing.
public enum MaskChoice: Hashable, Sendable, CustomStringConvertible {
  case pattern(MaskPattern)
  /// An image in which the observed pixels aren't zero.
  case file(String)

  public init(parsing text: String) throws(ProblemError) {
    if ["center:", "box:", "random:"].contains(where: text.hasPrefix) {
      self = .pattern(try MaskPattern(parsing: text))
    } else {
      self = .file(text)
    }
  }

  public var description: String {
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
