import AIPOFlows
import AIPOKernels

extension TrainingStart {
  /// What a training begins with, a line each.
  var words: [String] {
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

/// Says in words what a training does.
public struct TrainingTeller: TrainingObserver {
  /// Shows a line of what the training is about.
  public var tell: (String) throws -> Void = { _ in }
  /// Shows a line of what may be a mistake.
  public var warn: (String) -> Void = { _ in }
  /// Shows a line for who wants to know more.
  public var remark: (String) -> Void = { _ in }
  /// Shows how far it is, over and over. The first step that is told of is where this process begins.
  public var update: (_ step: Int, _ words: String, _ isFirst: Bool) -> Void = { _, _, _ in }
  private var validation = ""
  private var hasBegun = false

  public init() {}

  public mutating func observe<Scalar>(_ event: TrainingEvent<Scalar>) throws {
    switch event {
    case .begun(let start):
      let lines = start.words
      try tell(lines[0])
      for advice in start.advice { warn(advice.description) }
      for line in lines.dropFirst() { try tell(line) }
    case .step(let step, _, let bits, _, let rate):
      update(step, "\(fixed(bits, 3)) bits/dim\(validation), rate \(fixed(rate, 6))", !hasBegun)
      hasBegun = true
    case .rolledBack(let step, let reason, let scale):
      warn("step \(step) undone: \(reason); the rate is \(fixed(scale, 4)) of the schedule's for a while")
    case .validation(let step, let value):
      validation = ", validation \(fixed(value.bitsPerDim, 3))"
      remark("step \(step): validation \(fixed(value.bitsPerDim, 4)) bits/dim")
    case .checkpoint(let step): remark("step \(step): checkpoint")
    case .samples: break
    }
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
