import AIPO
import AIPOFlowTesting

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
    case let error as CheckFailure: self.init(.failure, error.description)
    case let error as StudyCellError:
      let failure = CommandFailure(error.error)
      self.init(failure.status, "cell \(error.cell) of the study, '\(error.command)': \(failure.message)")
    default:
      let error = TaskError(error)
      let status: ExitStatus =
        switch error.kind {
        case .usage: .usage
        case .data: .badData
        case .missing: .inputMissing
        case .unwritable: .cannotWrite
        case .failure: .failure
        }
      self.init(status, error.description)
    }
  }

  /// The whole text on one line, so that a script can read it as one.
  private static func oneLine(_ text: String) -> String {
    text.split(whereSeparator: \.isNewline).map { line in
      String(line.drop(while: \.isWhitespace))
    }.joined(separator: " ")
  }
}
