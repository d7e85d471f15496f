import AIPOFlows
import AIPOInterchange
import AIPOKernels
import AIPOPriors
import AIPOSolvers

/// Why something can't be done as it is asked for, in one line: what, where, found and expected.
public struct TaskError: Error, Sendable, CustomStringConvertible {
  public enum Kind: Sendable {
    /// A setting is unknown, out of its range or at odds with another one.
    case usage
    /// A file holds something else than is needed.
    case data
    /// A file isn't there.
    case missing
    /// A file can't be written.
    case unwritable
    /// The machine can't do it.
    case failure
  }

  public let kind: Kind
  /// The setting that it is about, as ``SettingKey`` names it.
  public let key: String?
  /// Of a setting: its value, and what it should be.
  public let found: String?
  public let expected: String?
  public let description: String

  public init(
    _ kind: Kind, key: String? = nil, _ description: String, found: String? = nil, expected: String? = nil
  ) {
    self.kind = kind
    self.key = key
    self.found = found
    self.expected = expected
    self.description = description
  }
}

extension TaskError {
  /// Throws a usage error for the first number that is out of its range.
  package static func require(_ numbers: [(key: String, value: Int, range: ClosedRange<Int>)])
    throws(TaskError)
  {
    for (key, value, range) in numbers where !range.contains(value) {
      throw TaskError(
        .usage, key: key, "--\(key) is \(value), expected \(range.lowerBound) to \(range.upperBound)",
        found: "\(value)", expected: "\(range.lowerBound) to \(range.upperBound)")
    }
  }

  /// What any error of the library means for who asked for the work.
  public init(_ error: any Error) {
    switch error {
    case let error as TaskError: self = error
    case let error as FileError:
      let kind: Kind =
        switch error {
        case .missing: .missing
        case .malformed: .data
        case .unwritable: .unwritable
        }
      self.init(kind, error.description)
    case let error as ConfigError:
      // A value from a flag has no line in a file.
      self.init(error.path.hasPrefix("--") ? .usage : .data, error.description)
    case let error as RankError:
      let kind: Kind =
        switch error {
        case .notBuilt: .usage
        case .different: .data
        case .silent, .failed: .failure
        }
      self.init(kind, error.description)
    case let error as ImportError: self.init(.usage, error.description)
    case let error as ExportError: self.init(.data, error.description)
    case let error as TrainingError: self.init(.data, error.description)
    case TensorError.outOfMemory: self.init(.failure, "\(error)")
    case is TensorError: self.init(.data, "\(error)")
    case FlowError.tooLarge: self.init(.failure, "\(error); --memory sets the limit")
    case is FlowError: self.init(.data, "\(error)")
    case ProblemError.memory(let error): self.init(error)
    case ProblemError.invalidSigma, ProblemError.invalidParameter, ProblemError.invalidMask:
      self.init(.usage, "\(error)")
    case is ProblemError: self.init(.data, "\(error)")
    case SolverError.problem(let error): self.init(error)
    case SolverError.prior(let error): self.init(error)
    case SolverError.invalidOption: self.init(.usage, "\(error)")
    case is SolverError: self.init(.data, "\(error)")
    default: self.init(.failure, "internal failure: \(error)")
    }
  }
}
