/// Programs whose checkpoints are read, told by the names of their tensors.
public enum Dialect: String, CaseIterable, Sendable {
  /// `MultiscaleFlow` and `NormalizingFlow` of normflows 1.7.
  case normflows
  /// Asim et al., *Invertible generative models for inverse problems*, ICML 2020.
  case glowip
  /// rosinality's glow-pytorch.
  case glowPytorch = "glow-pytorch"

  /// The dialect that names of tensors belong to.
  static func of(_ dict: StateDict) -> Dialect? {
    let names = dict.names
    if names.contains(where: { $0.hasPrefix("glow_modules.") }) { return .glowip }
    if names.contains(where: { $0.hasPrefix("blocks.") }) { return .glowPytorch }
    if names.contains(where: { $0.hasPrefix("flows.") || $0.hasPrefix("q0.") }) { return .normflows }
    return nil
  }

  /// The options that mean something in the dialect, with what each may be.
  public var options: [ImportOption] {
    let common: [ImportOption] = [.stateDict, .size, .bits]
    return switch self {
    case .normflows: common + [.range, .scaleMap, .class]
    case .glowip: common + [.range, .squeeze, .lastBias, .couplingBias]
    case .glowPytorch: common + [.range]
    }
  }
}

/// What a file may leave open.
public enum ImportOption: String, CaseIterable, Sendable {
  case stateDict = "state-dict"
  case size
  case bits
  case range
  case scaleMap = "scale-map"
  case `class`
  case squeeze
  case lastBias = "last-bias"
  case couplingBias = "coupling-bias"
  case draws

  /// The words that it may be; nil where it is a number or free.
  public var values: [String]? {
    switch self {
    case .range: ["unit", "centered", "symmetric"]
    case .scaleMap: ["sigmoid", "exp", "sigmoid-inv"]
    case .squeeze: ["interleave", "contiguous", "contiguous-except-last"]
    case .lastBias: ["0", "1"]
    case .stateDict, .size, .bits, .class, .couplingBias, .draws: nil
    }
  }
}

/// What the options are set to while a file is mapped.
struct ImportChoices: Hashable {
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

  var range = PixelRange.unit
  var scaleMap = ScaleMap.sigmoid
  var classIndex = 0
  var squeeze = Squeezing.interleave
  var lastBias = 0.0
  var couplingBias = 0.0
}
