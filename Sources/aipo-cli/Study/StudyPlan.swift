import AIPO

/// What a study's YAML asks for.
struct StudyPlan {
  var title: String
  var about: String
  var grids: [StudyGrid]

  var cells: [StudyCell] { grids.flatMap(\.cells) }
}

/// Problems, each with the variants that are compared on it.
struct StudyGrid {
  var name: String
  var about: String
  /// Whether the cells are random draws, which are counted instead of compared.
  var isDrawn: Bool
  var cells: [StudyCell]
}

/// A flag of `aipo reconstruct`, without its dashes, and what it is set to.
struct StudyOption: Hashable, Codable {
  var name: String
  var value: String

  /// In words, for a label.
  var words: String {
    switch name {
    case "method": value
    case "model": ModelSource.stem(value)
    case "sigma": "σ = \(value)"
    case "measurements": "m = \(value)"
    case "lambda": "λ = \(value)"
    case "init": "from \(value)"
    case "task", "mask": value
    default: "\(name) \(value)"
    }
  }

  /// As a word of a command.
  var flag: String {
    switch value {
    case "true": "--\(name)"
    case "false": ""
    default: "--\(name)=\(value)"
    }
  }

  /// Options that only say which images and draws are the sample.
  static let sampling: Set<String> = ["simulate", "observation", "truth", "indices", "seed"]
}

/// One setting of `aipo reconstruct`, for all its images.
struct StudyCell {
  /// Every option, in the YAML's order.
  let options: [StudyOption]
  /// What tells the cell's problem from the grid's others.
  let problem: [StudyOption]
  /// What tells the cell's variant from the others on the same problem.
  let variant: [StudyOption]
  /// The options as the parser of `reconstruct` understands them.
  let reconstruct: Reconstruct

  var method: ReconstructionMethod { reconstruct.solver.method.methods[0] }

  /// The command that solves the cell's images alone.
  var command: String {
    (["aipo", "reconstruct"]
      + options.flatMap { option -> [String] in
        switch option.value {
        case "true": ["--\(option.name)"]
        case "false": []
        default: ["--\(option.name)", Provenance.quoted(option.value)]
        }
      }).joined(separator: " ")
  }
}
