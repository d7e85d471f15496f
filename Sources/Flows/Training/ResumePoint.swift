import AIPOKernels
import Synchronization

/// Where a training could go on if the process ended now, for whoever must end it while a step is being made.
///
/// The training keeps it up with its steps; `save` may be called from any thread.
public final class ResumePoint: Sendable {
  private let state = Mutex<(step: Int, save: @Sendable () throws -> Void)?>(nil)
  private let saved = Mutex<Int?>(nil)

  public init() {}

  /// Steps in the run's checkpoint; nil where there is none yet.
  public var savedStep: Int? { saved.withLock { $0 } }

  /// Writes the state before the step that is being made as the run's checkpoint; nothing before the first step.
  ///
  /// Throws `FileError.unwritable`; the last checkpoint then stays.
  public func save() throws {
    try state.withLock {
      guard let state = $0 else { return }
      try state.save()
      noteSaved(step: state.step)
    }
  }

  func keep<Scalar>(_ checkpoint: TrainingCheckpoint<Scalar>, path: String) {
    state.withLock { $0 = (checkpoint.progress.step, { try checkpoint.save(path: path) }) }
  }

  func noteSaved(step: Int) { saved.withLock { $0 = step } }
}
