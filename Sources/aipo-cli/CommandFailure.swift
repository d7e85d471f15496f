import AIPO

/// The exit codes, after sysexits.h where it has a name for the case.
enum ExitStatus: Int32 {
  case done = 0
  /// Unknown, unparsable or out-of-range flag.
  case usage = 64
  /// A malformed file, shapes that don't match, values that aren't finite, an index beyond the data.
  case badData = 65
  case inputMissing = 66
  /// A failure of the program itself.
  case failure = 70
  /// No such folder, not a regular file, full disk, folder locked or not empty.
  case cannotWrite = 73
  /// At least one image has no finite result.
  case noResult = 75
  case interrupted = 130
  case terminated = 143
}

/// An error ready to be shown: an exit code, and one line that says what, where, found and expected.
struct CommandFailure: Error {
  let status: ExitStatus
  let message: String

  init(_ status: ExitStatus, _ message: String) {
    self.status = status
    self.message = Self.oneLine(message)
  }

  /// What an error of the library means for the caller of the program.
  init(_ error: any Error) {
    switch error {
    case let failure as CommandFailure: self = failure
    case let error as FileError:
      let status: ExitStatus =
        switch error {
        case .missing: .inputMissing
        case .malformed: .badData
        case .unwritable: .cannotWrite
        }
      self.init(status, error.description)
    case let error as ConfigError:
      // A value from a flag has no line in a file.
      self.init(error.path.hasPrefix("--") ? .usage : .badData, error.description)
    case let error as TaskError:
      let status: ExitStatus =
        switch error.kind {
        case .usage: .usage
        case .data: .badData
        case .missing: .inputMissing
        case .failure: .failure
        }
      self.init(status, error.description)
    case let error as StudyCellError:
      let failure = CommandFailure(error.error)
      self.init(
        failure.status, "cell \(error.cell) of the study, '\(error.command)': \(failure.message)")
    case let error as RankError:
      let status: ExitStatus =
        switch error {
        case .notBuilt: .usage
        case .different: .badData
        case .silent, .failed: .failure
        }
      self.init(status, error.description)
    case let error as ImportError: self.init(.usage, error.description)
    case let error as TrainingError: self.init(.badData, error.description)
    case let error as TensorError:
      if case .outOfMemory = error {
        self.init(.failure, error.description)
      } else {
        self.init(.badData, error.description)
      }
    case let error as FlowError:
      if case .tooLarge = error {
        self.init(.failure, error.description + "; --memory sets the limit")
      } else {
        self.init(.badData, error.description)
      }
    case let error as ProblemError:
      switch error {
      case .memory(let error): self.init(error)
      case .invalidSigma, .invalidParameter, .invalidMask: self.init(.usage, error.description)
      default: self.init(.badData, error.description)
      }
    case let error as SolverError:
      switch error {
      case .problem(let error): self.init(error)
      case .prior(let error): self.init(error)
      case .invalidOption: self.init(.usage, error.description)
      case .unsupported: self.init(.badData, error.description)
      }
    default: self.init(.failure, "internal failure: \(error)")
    }
  }

  /// The whole text on one line, so that a script can read it as one.
  private static func oneLine(_ text: String) -> String {
    text.split(whereSeparator: \.isNewline).map { line in
      String(line.drop(while: \.isWhitespace))
    }.joined(separator: " ")
  }
}
