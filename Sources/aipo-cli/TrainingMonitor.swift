import AIPO

/// Shows what a training tells.
struct TrainingMonitor: TrainingObserver {
  let line: ProgressLine
  let common: CommonOptions
  private var progress = TrainingProgress()
  private var hasBegun = false

  init(line: ProgressLine, common: CommonOptions) {
    self.line = line
    self.common = common
  }

  mutating func observe<Scalar>(_ event: TrainingEvent<Scalar>) throws {
    if case .begun(let start) = event {
      let lines = start.words
      try common.print(lines[0])
      common.warn(start.advice)
      for line in lines.dropFirst() { try common.print(line) }
    }
    if let (step, text) = progress.words(event) {
      // The first step of this process, wherever a resumed run goes on, starts the clock.
      if !hasBegun { line.begin(at: Double(step)) }
      hasBegun = true
      line.update(Double(step), text)
    }
    guard let (text, isWarning) = event.words else { return }
    if isWarning { common.warn(text) } else { common.remark(text) }
  }
}
