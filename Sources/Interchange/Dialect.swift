/// Programs whose checkpoints are read, told by the names of their tensors.
public enum Dialect: String, CaseIterable, Sendable {
  /// `MultiscaleFlow` and `NormalizingFlow` of normflows 1.7.
  case normflows
  /// Asim et al., *Invertible generative models for inverse problems*, ICML 2020.
  case glowip
  /// rosinality's glow-pytorch.
  case glowPytorch = "glow-pytorch"

  /// What the names of tensors begin with in one of the dialects.
  static let roots: Set<Substring> = ["glow_modules", "blocks", "flows", "q0"]

  /// The dialect that names of tensors belong to.
  static func of(_ dict: StateDict) -> Dialect? {
    func has(_ root: String) -> Bool { dict.names.contains { $0.hasPrefix(root + ".") } }
    if has("glow_modules") { return .glowip }
    if has("blocks") { return .glowPytorch }
    return has("flows") || has("q0") ? .normflows : nil
  }

  /// The settings that the dialect's files don't hold.
  public var openSettings: [OpenSetting] {
    switch self {
    case .normflows:
      [
        .init(.scaleMap, ["sigmoid", "exp", "sigmoid-inv"], meaning: "scale_map of the couplings"),
        .init(
          .split, ["channel", "channel-inv"], meaning: "split_mode of the GlowBlocks: which half conditions"),
        .init(.transform, ["none", "logit"], meaning: "transform of the MultiscaleFlow"),
        .init(.range, Self.ranges, meaning: Self.rangeMeaning),
        .init(
          .permutation, ["swap-every", "swap-between", "none"],
          meaning: "vectors: Permute(mode='swap') behind every coupling, between them"),
        .init(
          .leaky, ["0", "0.01", "0.1", "0.2"], .number(0...1), isFine: true,
          meaning: "slope of the nets' LeakyReLU"),
        .init(
          .alpha, ["0.05", "0.01", "1e-6"], .number(0...0.49), isFine: true,
          meaning: "alpha of the Logit transform"),
        .init(.class, [], .whole(0...1_000_000), isFine: true, meaning: "of a class-conditional base"),
        .init(.bits, ["8"], .whole(1...8), meaning: Self.bitsMeaning),
      ]
    case .glowip:
      [
        .init(
          .squeeze, ["interleave", "contiguous", "contiguous-except-last"],
          meaning: "how pixels become channels"),
        .init(.lastBias, ["1", "0"], meaning: "added to the last step's scale; 1 with last_zeros"),
        .init(.bits, ["5", "8"], .whole(1...8), meaning: Self.bitsMeaning),
        .init(.couplingBias, ["0"], .number(0...1000), meaning: "coupling_bias of configs.json"),
        .init(.range, ["centered"], .words(Self.ranges), meaning: Self.rangeMeaning),
      ]
    case .glowPytorch:
      [
        .init(.bits, ["5", "8"], .whole(1...8), meaning: Self.bitsMeaning),
        .init(.range, ["centered"], .words(Self.ranges), meaning: Self.rangeMeaning),
      ]
    }
  }

  private static let ranges = ["unit", "centered", "symmetric"]
  private static let bitsMeaning = "bits a pixel that images had in training"
  private static let rangeMeaning = "pixels that the model saw: on [0, 1], [−½, ½] or [−1, 1]"
}

/// The names of `--option`.
public enum ImportOption: String, CaseIterable, Sendable {
  case stateDict = "state-dict"
  case size
  case scaleMap = "scale-map"
  case split
  case transform
  case alpha
  case range
  case permutation
  case leaky
  case `class`
  case squeeze
  case lastBias = "last-bias"
  case couplingBias = "coupling-bias"
  case bits
  case draws
}

/// A setting that changes the density and that a dialect's files don't hold. What may be given, what is tried on images, and
/// what is assumed without them all come from here.
public struct OpenSetting: Sendable {
  /// What may be given.
  public enum Allowed: Sendable {
    case words([String])
    case whole(ClosedRange<Int>)
    case number(ClosedRange<Double>)

    /// In words.
    public var text: String {
      switch self {
      case .words(let words): "one of " + words.joined(separator: ", ")
      case .whole(let range): "\(range.lowerBound) to \(range.upperBound)"
      case .number(let range):
        "\(ImportChoices.text(range.lowerBound)) to \(ImportChoices.text(range.upperBound))"
      }
    }

    func contains(_ value: String) -> Bool {
      switch self {
      case .words(let words): words.contains(value)
      case .whole(let range): Int(value).map { range.contains($0) } ?? false
      case .number(let range): Double(value).map { range.contains($0) } ?? false
      }
    }
  }

  public let option: ImportOption
  /// What is tried on images, the value that is assumed without them first. A setting with one value isn't tried.
  public let values: [String]
  public let allowed: Allowed
  /// Whether it is tried by itself, when the others are settled.
  public let isFine: Bool
  /// What it is, in a few words for the command's help.
  public let meaning: String

  init(
    _ option: ImportOption, _ values: [String], _ allowed: Allowed? = nil, isFine: Bool = false,
    meaning: String
  ) {
    self.option = option
    self.values = values
    self.allowed = allowed ?? .words(values)
    self.isFine = isFine
    self.meaning = meaning
  }
}

/// What the settings are while a file is mapped.
struct ImportChoices: Hashable {
  private var values: [ImportOption: String] = [:]

  subscript(option: ImportOption) -> String {
    get { values[option] ?? "" }
    set { values[option] = newValue }
  }

  func number(_ option: ImportOption) -> Double { Double(self[option]) ?? 0 }

  static func text(_ value: Double) -> String {
    value == value.rounded() && abs(value) < 1e15 ? "\(Int(value))" : "\(value)"
  }

  var swaps: Swaps? { Swaps(rawValue: self[.permutation]) }

  /// From pixels on [0, 1] to what the model saw: factor·x + offset.
  enum PixelRange: String {
    case unit, centered, symmetric

    var factor: Double { self == .symmetric ? 2 : 1 }
    var offset: Double {
      switch self {
      case .unit: 0
      case .centered: -0.5
      case .symmetric: -1
      }
    }
  }

  enum ScaleMap: String {
    case sigmoid, exp
    case inverse = "sigmoid-inv"
  }

  enum Squeezing: String {
    case interleave, contiguous
    case contiguousExceptLast = "contiguous-except-last"
  }

  enum Splitting: String {
    case channel
    case inverse = "channel-inv"
  }

  enum Transform: String {
    case none, logit
  }

  enum Swaps: String {
    case every = "swap-every"
    case between = "swap-between"
    case none
  }
}

extension Dialect {
  /// What its files leave open, in words: a setting with its values on a line, what it means on the next.
  public var settingsInWords: String {
    let lines = openSettings.map { setting in
      let values =
        switch setting.allowed {
        case .words(let words): words.joined(separator: "|")
        case .whole, .number: setting.allowed.text
        }
      return "  \(setting.option.rawValue)=\(values)\n      \(setting.meaning)"
    }
    return "Options of \(rawValue):\n" + lines.joined(separator: "\n")
  }
}
