import AIPO

/// Shows what a training tells.
struct TrainingMonitor: TrainingObserver {
  private let progress: ProgressLine
  private let common: CommonOptions
  private var validation: Double?
  private var hasBegun = false

  init(progress: ProgressLine, common: CommonOptions) {
    self.progress = progress
    self.common = common
  }

  mutating func observe<Scalar>(_ event: TrainingEvent<Scalar>) throws {
    switch event {
    case .begun(let start): try tell(start)
    case .step(let step, _, let bits, _, let rate):
      // The first step of this process, wherever a resumed run goes on, starts the clock.
      if !hasBegun { progress.begin(at: Double(step)) }
      hasBegun = true
      progress.update(
        Double(step),
        "\(fixed(bits, 3)) bits/dim" + (validation.map { ", validation \(fixed($0, 3))" } ?? "")
          + ", rate \(fixed(rate, 6))")
    case .rolledBack(let step, let reason, let scale):
      common.warn(
        "step \(step) undone: \(reason); the rate is \(fixed(scale, 4)) of the schedule's for a while")
    case .validation(let step, let value):
      validation = value.bitsPerDim
      common.remark("step \(step): validation \(fixed(value.bitsPerDim, 4)) bits/dim")
    case .samples: break
    case .checkpoint(let step):
      common.remark("step \(step): checkpoint")
    }
  }

  private func tell(_ start: TrainingStart) throws {
    let (training, validation) = (start.split.training.count, start.split.validation.count)
    func things(_ count: Int) -> String {
      start.shape.isVector
        ? counted(count, "vector") + " of \(counted(start.shape.channels, "value"))"
        : counted(count, "picture")
          + (start.isPatched ? ", in patches of \(start.shape)" : " of \(start.shape)")
    }
    let text =
      if start.split.isOfParts {
        "training on \(things(training)); a part of \(training == 1 ? "it" : "\(validation) of them") is kept back to "
          + "validate on"
      } else if validation == 0 {
        "training on all \(things(training)); none is kept back to validate on"
      } else {
        "training on \(training), validating on \(validation) of \(things(training + validation))"
      }
    try common.print(text)
    common.warn(start.advice.map(\.description))
    guard start.step > 0 else { return }
    try common.print(
      start.step < start.steps
        ? "going on from step \(start.step) to \(start.steps)"
        : "all \(start.steps) steps are made; a larger --steps goes on")
    if start.hasOtherRates {
      try common.print(
        "the learning rate is \(fixed(start.rate, 6)) from here, as in a run of \(start.steps) steps; "
          + "steps that were made had another")
    }
  }
}
