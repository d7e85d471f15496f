import AIPO

typealias StudyGrid = StudyPlan<Reconstruct>.Grid
typealias StudyCell = StudyPlan<Reconstruct>.Cell

extension StudyOption {
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

extension StudyPlan<Reconstruct>.Cell {
  var method: ReconstructionMethod { command.solver.method.methods[0] }

  /// The command that solves the cell's images alone.
  var commandLine: String {
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

extension Reconstruct {
  /// The command of a study's cell.
  static func cell(_ flags: [String]) throws(StudyRefusal) -> Reconstruct {
    let command: Reconstruct
    do { command = try Reconstruct.parse(flags) } catch {
      let message = Reconstruct.message(for: error)
      let isUnknown = message.hasPrefix("Unknown option")
      throw StudyRefusal(
        message: message,
        expected: isUnknown
          ? "an option of 'aipo reconstruct', as its help lists them"
          : "what 'aipo reconstruct' takes: \(message)",
        isUnknown: isUnknown)
    }
    guard command.solver.method.methods.count == 1 else {
      throw StudyRefusal(
        message: "--method names several", expected: "one method; several are a list, [a, b]")
    }
    return command
  }
}
