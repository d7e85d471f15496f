import AIPOSolvers
import AIPOTasks

/// What a study's YAML asks for: grids of settings, each of which makes a task.
public struct StudyPlan: Sendable {
  public internal(set) var title = ""
  public internal(set) var about = ""
  public internal(set) var rank = StudyRank.psnr
  public internal(set) var grids: [Grid] = []

  public var cells: [Cell] { grids.flatMap(\.cells) }

  /// Problems, each with the variants that are compared on it.
  public struct Grid: Sendable {
    public internal(set) var name = ""
    public internal(set) var about = ""
    /// Whether the cells are random draws, which are counted instead of compared.
    public internal(set) var isDrawn = false
    public internal(set) var cells: [Cell] = []
  }

  /// One setting, for all its images.
  public struct Cell: Sendable {
    /// Every option, in the YAML's order.
    public let options: [StudyOption]
    /// What tells the cell's problem from the grid's others.
    public let problem: [StudyOption]
    /// What tells the cell's variant from the others on the same problem.
    public let variant: [StudyOption]
    /// What the options say.
    public let task: ReconstructionTask

    var method: ReconstructionMethod { task.methods[0] }

    /// The command that solves the cell's images alone.
    public var commandLine: String {
      (["aipo", "reconstruct"]
        + options.flatMap { option -> [String] in
          switch option.value {
          case "true": ["--\(option.name)"]
          case "false": []
          default: ["--\(option.name)", shellQuoted(option.value)]
          }
        }).joined(separator: " ")
    }
  }
}

/// What the variants of a problem are ranked by: the greatest mean is the best.
public enum StudyRank: String, Sendable, CaseIterable {
  /// The PSNR, which takes the truth.
  case psnr
  /// log p(y) under the prior and the noise's law, which doesn't: by sequential Monte Carlo, so hundreds of times the cost.
  case evidence

  func value(_ solve: StudySolve) -> Double? {
    switch self {
    case .psnr: solve.record.psnr
    case .evidence: solve.evidence?.logEvidence
    }
  }
}

/// A setting of a study, as `SettingKey` names it, and what it is set to.
public struct StudyOption: Hashable, Codable, Sendable {
  public var name: String
  public var value: String

  public init(name: String, value: String) {
    self.name = name
    self.value = value
  }

  /// Options that only say which images and draws are the sample.
  static let sampling: Set<String> = ["simulate", "observation", "truth", "indices", "seed"]

  /// In words, for a label.
  var words: String {
    switch name {
    case "method": value
    case "model": ModelSource.stem(value)
    case "sigma": "σ = \(value)"
    case "measurements": "m = \(value)"
    case "lambda": "λ = \(value)"
    case "flow-share": "t = \(value)"
    case "init": "from \(value)"
    case "task", "mask": value
    default: "\(name) \(value)"
    }
  }
}
