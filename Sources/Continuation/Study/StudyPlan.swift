/// What a study's YAML asks for: grids of settings, each of which makes a command.
package struct StudyPlan<Command> {
  package var title: String
  package var about: String
  package var grids: [Grid]

  package var cells: [Cell] { grids.flatMap(\.cells) }

  /// Problems, each with the variants that are compared on it.
  package struct Grid {
    package var name: String
    package var about: String
    /// Whether the cells are random draws, which are counted instead of compared.
    package var isDrawn: Bool
    package var cells: [Cell]
  }

  /// One setting, for all its images.
  package struct Cell {
    /// Every option, in the YAML's order.
    package let options: [StudyOption]
    /// What tells the cell's problem from the grid's others.
    package let problem: [StudyOption]
    /// What tells the cell's variant from the others on the same problem.
    package let variant: [StudyOption]
    /// The options as the parser of commands understands them.
    package let command: Command
  }
}

/// A flag of `aipo reconstruct`, without its dashes, and what it is set to.
package struct StudyOption: Hashable, Codable, Sendable {
  package var name: String
  package var value: String

  package init(name: String, value: String) {
    self.name = name
    self.value = value
  }

  /// As a word of a command.
  package var flag: String {
    switch value {
    case "true": "--\(name)"
    case "false": ""
    default: "--\(name)=\(value)"
    }
  }

  /// Options that only say which images and draws are the sample.
  package static let sampling: Set<String> = ["simulate", "observation", "truth", "indices", "seed"]
}

/// Why flags make no command.
package struct StudyRefusal: Error {
  /// In the parser's words; the first flag that it names is the one that it means.
  package var message: String
  package var expected: String
  /// Whether there is no such flag.
  package var isUnknown: Bool

  package init(message: String, expected: String, isUnknown: Bool = false) {
    self.message = message
    self.expected = expected
    self.isUnknown = isUnknown
  }
}
