/// Where a training is, beside its parameters: everything that the next steps depend on.
struct TrainingProgress: Codable, Equatable, Sendable {
  /// Steps made, rolled back ones included.
  var step = 0
  var updates = 0
  var rollbacks = 0
  /// Roll-backs since the last good step.
  var failures = 0
  /// Good steps until the rate is the schedule's again.
  var recovering = 0
  var rateScale = 1.0
  /// Running means over good steps, of bits/dim and of the gradient's norm.
  var meanLoss = 0.0
  var meanNorm = 0.0
  /// Good steps in the running means.
  var goodSteps = 0
  /// Sums since the last line of the log.
  var windowSteps = 0
  var windowLoss = 0.0
  var windowNorm = 0.0
  /// Bytes of the log that belong to the steps made.
  var logBytes = 0
  /// Whether the validation and samples of the last step are still to be made.
  var measuring = false
  /// The last measurement on the validation images.
  var validation: Evaluation?
  /// Behind the last step: what there was before the end was logged and measured, which a longer run doesn't do there.
  var beforeEnd: BeforeEnd?

  struct BeforeEnd: Codable, Equatable, Sendable {
    var logBytes: Int
    var windowSteps: Int
    var windowLoss: Double
    var windowNorm: Double
    var validation: Evaluation?
  }

  /// Notes, behind the last step, what a longer run would go on with.
  mutating func noteEnd(logBytes: Int) {
    beforeEnd = BeforeEnd(
      logBytes: logBytes, windowSteps: windowSteps, windowLoss: windowLoss, windowNorm: windowNorm,
      validation: validation)
  }

  /// Takes back what was done because the run ended: the step is still to be measured.
  mutating func takeBackEnd() {
    guard let end = beforeEnd else { return }
    (logBytes, windowSteps) = (end.logBytes, end.windowSteps)
    (windowLoss, windowNorm, validation) = (end.windowLoss, end.windowNorm, end.validation)
    measuring = true
    beforeEnd = nil
  }

  /// Whether the counts are such as a training makes; a file may hold others.
  var isPlausible: Bool {
    let counts = [
      step, updates, rollbacks, failures, recovering, goodSteps, windowSteps, logBytes,
      beforeEnd?.logBytes ?? 0, beforeEnd?.windowSteps ?? 0,
    ]
    return counts.allSatisfy { (0...1 << 60).contains($0) } && (validation?.images ?? 0) >= 0
  }

  /// Why a step with this loss (bits/dim) and gradient norm must be undone, or nil.
  func fault(loss: Double, norm: Double, limits: TrainingConfig.Guard) -> String? {
    // The sign of a NaN is nobody's business, and not the same in every build.
    guard loss.isFinite else { return "the loss is \(loss.isNaN ? .nan : loss)" }
    guard norm.isFinite else { return "the gradient's norm is \(norm.isNaN ? .nan : norm)" }
    guard goodSteps >= 10 else { return nil }
    if loss > meanLoss + limits.lossJump {
      return "the loss is \(JSONText.rounded(loss)) bits/dim, its running mean \(JSONText.rounded(meanLoss))"
    }
    if norm > meanNorm * limits.gradientJump {
      return
        "the gradient's norm is \(JSONText.rounded(norm)), its running mean \(JSONText.rounded(meanNorm))"
    }
    return nil
  }

  mutating func accept(loss: Double, norm: Double) {
    goodSteps += 1
    let gain = max(1 / Double(goodSteps), 0.02)
    meanLoss += gain * (loss - meanLoss)
    meanNorm += gain * (norm - meanNorm)
    failures = 0
    windowSteps += 1
    windowLoss += loss
    windowNorm += norm
    if recovering > 0 {
      recovering -= 1
      if recovering == 0 { rateScale = 1 }
    }
  }

  mutating func reject(_ limits: TrainingConfig.Guard) {
    rollbacks += 1
    failures += 1
    rateScale *= limits.rateFactor
    recovering = limits.recovery
  }

  mutating func closeWindow() {
    windowSteps = 0
    windowLoss = 0
    windowNorm = 0
  }
}
