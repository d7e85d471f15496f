import AIPOKernels
import AIPOProblems

/// What the work on one image has, and where it reports to.
final class ImageWork {
  let image: Int
  let scratch: Scratch
  private let log: RunLog
  /// The states so far.
  var trace: [PathState] = []

  init(image: Int, scratch: Scratch, log: RunLog) {
    self.image = image
    self.scratch = scratch
    self.log = log
  }

  var isCancelled: () -> Bool { log.observer.isCancelled }

  func evaluator(_ objective: any Objective) -> Evaluator {
    Evaluator(objective, scratch, isCancelled: isCancelled)
  }

  func report(_ state: PathState, _ pixels: Vector) {
    trace.append(state)
    log.report(image, state, pixels)
  }
}

/// What is known of all images, whichever thread solves them.
final class RunLog: @unchecked Sendable {
  let observer: ReconstructionObserver
  private let lock = Lock()
  private var done: [ReconstructionResult?]
  /// The first image whose result wasn't given to the observer.
  private var next = 0
  private var evaluations = 0
  /// The latest states of the images at work.
  private var latest: [Int: PathState] = [:]

  init(count: Int, _ observer: ReconstructionObserver) {
    self.observer = observer
    done = [ReconstructionResult?](repeating: nil, count: count)
  }

  var results: [ReconstructionResult] { done.compactMap(\.self) }

  func report(_ image: Int, _ state: PathState, _ pixels: Vector) {
    lock.withLock {
      latest[image] = state
      observer.onState(image, state, pixels)
      observer.onProgress(progress)
    }
  }

  func add(_ result: ReconstructionResult) throws {
    try lock.withLock {
      latest[result.index] = nil
      evaluations += result.evaluations
      done[result.index] = result
      while next < done.count, let result = done[next] {
        next += 1
        try observer.onResult(result)
      }
      observer.onProgress(progress)
    }
  }

  private var progress: ReconstructionProgress {
    func mean(_ value: (PathState) -> Double) -> Double? {
      latest.isEmpty ? nil : latest.values.reduce(0) { $0 + value($1) } / Double(latest.count)
    }
    return ReconstructionProgress(
      finished: done.count { $0 != nil }, total: done.count,
      evaluations: evaluations + latest.values.reduce(0) { $0 + $1.evaluations },
      lambda: mean(\.weights.lambda),
      t: mean(\.weights.t), objective: mean(\.objective))
  }
}

extension Duration {
  var inSeconds: Double { Double(components.seconds) + Double(components.attoseconds) * 1e-18 }
}
