import AIPOKernels
import Synchronization

/// Where a training could go on if the process ended now, for whoever must end it while a step is being made.
///
/// The training keeps it up with its steps; `save` may be called from any thread.
public final class ResumePoint: Sendable {
  private let state = Mutex<(@Sendable () throws -> Void)?>(nil)

  public init() {}

  /// Writes the state before the step that is being made as the run's checkpoint; nothing before the first step.
  ///
  /// Throws `FileError.unwritable`; the last checkpoint then stays.
  public func save() throws {
    try state.withLock { try $0?() }
  }

  func keep<Scalar>(_ checkpoint: TrainingCheckpoint<Scalar>, path: String) {
    state.withLock { $0 = { try checkpoint.save(path: path) } }
  }
}
