import AIPOFlows
import AIPOKernels

extension TrainingStart {
  /// What a training begins with, a line each.
  package var words: [String] {
    let (training, validation) = (split.training.count, split.validation.count)
    func things(_ count: Int) -> String {
      shape.isVector
        ? counted(count, "vector") + " of \(counted(shape.channels, "value"))"
        : counted(count, "picture") + (isPatched ? ", in patches of \(shape)" : " of \(shape)")
    }
    var lines: [String] = []
    if split.isOfParts {
      lines.append(
        "training on \(things(training)); a part of \(training == 1 ? "it" : "\(validation) of them") is kept back to "
          + "validate on")
    } else if validation == 0 {
      lines.append("training on all \(things(training)); none is kept back to validate on")
    } else {
      lines.append("training on \(training), validating on \(validation) of \(things(training + validation))")
    }
    guard step > 0 else { return lines }
    lines.append(
      step < steps
        ? "going on from step \(step) to \(steps)" : "all \(steps) steps are made; a larger --steps goes on")
    if hasOtherRates {
      lines.append(
        "the learning rate is \(fixed(rate, 6)) from here, as in a run of \(steps) steps; "
          + "steps that were made had another")
    }
    return lines
  }
}

extension TrainingEvent {
  /// What is to be told of it, if anything: a remark, or a warning.
  package var words: (text: String, isWarning: Bool)? {
    switch self {
    case .rolledBack(let step, let reason, let scale):
      (
        "step \(step) undone: \(reason); the rate is \(fixed(scale, 4)) of the schedule's for a while", true
      )
    case .validation(let step, let value):
      ("step \(step): validation \(fixed(value.bitsPerDim, 4)) bits/dim", false)
    case .checkpoint(let step): ("step \(step): checkpoint", false)
    case .begun, .step, .samples: nil
    }
  }
}

/// How far a training has come, for a line that is drawn over and over.
package struct TrainingProgress {
  private var validation = ""

  package init() {}

  /// What a step comes to; nil of another event.
  package mutating func words<Scalar>(_ event: TrainingEvent<Scalar>) -> (step: Int, text: String)? {
    if case .validation(_, let value) = event { validation = ", validation \(fixed(value.bitsPerDim, 3))" }
    guard case .step(let step, _, let bits, _, let rate) = event else { return nil }
    return (step, "\(fixed(bits, 3)) bits/dim\(validation), rate \(fixed(rate, 6))")
  }
}

/// What is said where a training ends, in words and as JSON.
package struct TrainingEnd: Sendable {
  package let text: String
  package let json: JSONValue

  /// Of one that was stopped: where it is, what holds it, and how it goes on. `step` counts the steps in the checkpoint; nil
  /// where there is none.
  package init(stopped step: Int?, of steps: Int, in folder: String) {
    text =
      if let step {
        "stopped after step \(step) of \(steps), which \(FlowTraining.checkpointPath(in: folder)) holds\n"
          + "go on: aipo train --out \(shellQuoted(folder)) --resume"
      } else {
        "stopped before the first step: nothing is kept, and the same command begins anew"
      }
    json = ["out": .string(folder), "finished": .bool(false), "step": step.map { .int($0) } ?? .null]
  }

  /// Of one that is finished: what the model achieves, and what may be done with it.
  package init(_ model: FlowModel, in folder: String) {
    let path = FlowTraining.modelPath(in: folder)
    var lines = [path]
    for (name, value) in [("validation", model.figures.validation), ("test", model.figures.test)] {
      if let value { lines.append("\(name): \(ModelSummary.figure(value))") }
    }
    text = (lines + Self.nextSteps(model, path: shellQuoted(path))).joined(separator: "\n")
    json = [
      "out": .string(folder), "finished": .bool(true), "model": .string(path),
      "checksum": .string(model.checksum ?? ""), "figures": ModelSummary.figures(model.figures),
    ]
  }

  private static func nextSteps(_ model: FlowModel, path: String) -> [String] {
    let shape = model.imageShape
    if shape.isVector {
      return ["draw from it: aipo sample --model \(path) --count 1000 --out samples.npy"]
        + (shape.channels == 2 ? ["see it: aipo density --model \(path) --out density.png"] : [])
    }
    return [
      "draw from it: aipo sample --model \(path) --count 16 --out samples.png",
      "use it on a picture of \(model.isOfPatches ? "any size" : "\(shape.height)x\(shape.width)"): aipo reconstruct --model \(path) --task denoise "
        + "--observation noisy.png --sigma auto --out clean.png",
    ]
  }
}
