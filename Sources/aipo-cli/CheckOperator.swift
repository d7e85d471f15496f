import AIPO
import AIPOFlowTesting
import ArgumentParser

/// `aipo check-operator`: whether an operator keeps what solvers rely on.
struct CheckOperator: Verb {
  static let configuration = CommandConfiguration(
    commandName: "check-operator",
    abstract: "Measure an operator: its adjoint, its norm, its derivative.",
    discussion: """
      The flags are those of reconstruct. At random vectors it compares ⟨Ax, u⟩ with
      ⟨x, Aᵀu⟩, what is known of AᵀA with products, and the derivative with
      differences, all relative. Exit code 70 where one is beyond rounding.

      Examples:
        aipo check-operator --task deblur --kernel motion:9,30 --size 481x321
        aipo check-operator --task ct --geometry fan:200,100 --angles 60 --size 64x64
        aipo check-operator --operator A.npy --json
      """)

  @OptionGroup(title: "Measurement") var measurement: OperatorOptions

  @Option(help: ArgumentHelp("Channels of the images.", valueName: "c"))
  var channels = 1

  @OptionGroup var common: CommonOptions

  private func task() throws -> ReconstructionTask {
    var task = ReconstructionTask()
    do {
      try measurement.set(in: &task)
      if task.kind == nil, task.operatorFile != nil { task.kind = .sense }
      task.seed = common.seed
      try task.checkMeasurement()
    } catch let error as TaskError { throw ValidationError(error.description) }
    return task
  }

  func validate() throws {
    let task = try task()
    if task.size == nil, task.operatorFile == nil { throw ValidationError("--size is needed, as 64x64") }
    try require("--channels", channels, in: 1...1024)
  }

  func perform() throws -> ExitStatus {
    try common.requireMemory()
    let task = try task()
    let map = try task.map(
      of: task.size.map { ImageShape(height: $0.height, width: $0.width, channels: channels) })
    var mismatches = [("adjoint", 0.0), ("normal", 0.0), ("pullback", 0.0)]
    for seed in 0..<3 as Range<UInt64> {
      mismatches[0].1 = max(mismatches[0].1, try MapChecks.adjointMismatch(map, seed: seed))
      mismatches[1].1 = max(mismatches[1].1, try MapChecks.normalMismatch(map, seed: seed))
      mismatches[2].1 = max(
        mismatches[2].1,
        try MapChecks.pullbackMismatch(map, at: try MapChecks.point(map, seed: seed), seed: seed))
    }
    let norm = try MapChecks.norm(map)
    let shapes = [map.input, map.output].map { [$0.height, $0.width, $0.channels].map { JSONValue.int($0) } }
    try common.printJSON(
      .object(
        [("input", .array(shapes[0])), ("output", .array(shapes[1])), ("norm", .number(norm))]
          + mismatches.map { ("\($0.0)Mismatch", JSONValue.number($0.1)) }))
    try common.print(
      """
      \(map.input) to \(map.output), norm \(norm)
      \(mismatches.map { "\($0.0) mismatch \($0.1)" }.joined(separator: "\n"))
      """)
    for ((name, found), bound) in zip(mismatches, [1e-12, 1e-12, 1e-7]) where !(found <= bound) {
      throw CommandFailure(.failure, "\(name) mismatch is \(found), expected at most \(bound)")
    }
    return .done
  }
}
