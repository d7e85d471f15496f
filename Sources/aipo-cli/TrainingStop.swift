import AIPO

/// What a training that is stopped says: where it is, what holds it, and how it goes on.
struct TrainingStop: Sendable {
  let folder: String
  let steps: Int
  let common: CommonOptions

  /// `step` counts the steps in the checkpoint; nil where there is none.
  func tell(step: Int?) throws {
    ProgressLine.clearCurrent()
    if let step {
      try common.print(
        "stopped after step \(step) of \(steps), which \(FlowTraining.checkpointPath(in: folder)) holds\n"
          + "go on: aipo train --out \(shellQuoted(folder)) --resume")
    } else {
      try common.print("stopped before the first step: nothing is kept, and the same command begins anew")
    }
    let made: JSONValue = step.map { JSONValue.int($0) } ?? JSONValue.null
    try common.printJSON(["out": .string(folder), "finished": .bool(false), "step": made])
  }
}
