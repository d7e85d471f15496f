import AIPO
import AIPOFlowTesting
import ArgumentParser

/// An operator by the flags of a reconstruction, for images of a size.
struct SizedOperator: ParsableArguments {
  @OptionGroup(title: "Measurement") var measurement: OperatorOptions

  @Option(
    help: ArgumentHelp("Channels of the images. (default: 3 with demosaic and unmix, else 1)", valueName: "c")
  )
  var channels: Int?

  private func task(seed: UInt64) throws -> ReconstructionTask {
    var task = ReconstructionTask()
    do {
      try measurement.set(in: &task)
      if task.kind == nil, task.operatorFile != nil { task.kind = .sense }
      task.seed = seed
      try task.checkMeasurement()
    } catch let error as TaskError { throw ValidationError(error.description) }
    return task
  }

  func validate() throws {
    let task = try task(seed: 0)
    if task.size == nil, task.operatorFile == nil { throw ValidationError("--size is needed, as 64x64") }
    if let channels { try require("--channels", channels, in: 1...1024) }
  }

  func map(seed: UInt64) throws -> any Map {
    let task = try task(seed: seed)
    let channels = channels ?? ([.demosaic, .unmix].contains(task.kind) ? 3 : 1)
    return try task.map(
      of: task.size.map { ImageShape(height: $0.height, width: $0.width, channels: channels) })
  }
}

extension ImageShape {
  /// As JSON tells shapes.
  var json: JSONValue { .array([height, width, channels].map { .int($0) }) }
}

/// `aipo check-operator`: whether an operator keeps what solvers rely on.
struct CheckOperator: Verb {
  static let configuration = CommandConfiguration(
    commandName: "check-operator",
    abstract: "Measure an operator: its adjoint, its norm, its derivative.",
    discussion: """
      The flags are those of reconstruct. At random vectors it compares ⟨Ax, u⟩ with
      ⟨x, Aᵀu⟩, what is known of AᵀA with products, and the derivative with
      differences, all relative; of an operator that isn't linear Ax and Aᵀu are its
      derivative's. Exit code 70 where one is beyond rounding.

      With --apply or --adjoint it writes Ax or Aᵀu of an array instead, values as
      they are, to be compared with another program's.

      Examples:
        aipo check-operator --task deblur --kernel motion:9,30 --size 481x321
        aipo check-operator --task ct --geometry fan:200,100 --angles 60 --size 64x64
        aipo check-operator --operator A.npy --json
        aipo check-operator --task mri --kspace-mask lines:4 --size 64x64 --apply x.npy --out y.npy
      """)

  @OptionGroup var sized: SizedOperator

  @Option(
    help: ArgumentHelp(
      "An image, an array of height x width x channels values: write its measurements.", valueName: "file"),
    completion: .file())
  var apply: String?

  @Option(
    help: ArgumentHelp(
      "Measurements, an array: write the image that the transpose makes of them.", valueName: "file"),
    completion: .file())
  var adjoint: String?

  @Option(help: ArgumentHelp("Where --apply or --adjoint write, an .npy of float64.", valueName: "file"))
  var out: OutputPath?

  @OptionGroup var common: CommonOptions

  func validate() throws {
    if apply != nil, adjoint != nil { throw ValidationError("--apply and --adjoint exclude each other") }
    if (apply ?? adjoint == nil) != (out == nil) {
      throw ValidationError("--out goes with --apply or --adjoint, which need it")
    }
    if let out, !out.path.hasSuffix(".npy") {
      throw ValidationError("--out is '\(out.path)', expected a name that ends in .npy")
    }
  }

  func perform() throws -> ExitStatus {
    try OutputPath.checkWritable([out])
    try common.requireMemory()
    let map = try sized.map(seed: common.seed)
    if let path = apply ?? adjoint, let out { return try write(map, of: path, to: out) }
    return try check(map)
  }

  private func write(_ map: any Map, of path: String, to out: OutputPath) throws -> ExitStatus {
    let scratch = Scratch(pool: ThreadPool(threads: common.threadCount))
    let (from, to) = apply != nil ? (map.input, map.output) : (map.output, map.input)
    let values = try ArrayFile.read(path, as: Double.self)
    guard values.count == from.count else {
      throw CommandFailure(
        .badData, "\(path): has shape \(values.shape), expected the \(from.count) values of \(from)")
    }
    var result = try Tensor<Double>(shape: to.isVector ? [to.count] : [to.height, to.width, to.channels])
    try result.withMemory { result in
      if apply != nil {
        try map.apply(values.view, into: result, scratch)
      } else if let map = map as? any LinearMap {
        try map.adjoint(values.view, into: result, scratch)
      } else {
        throw CommandFailure(.usage, "--adjoint needs a linear operator")
      }
    }
    try NPYFile.write(result, to: out.path)
    try common.print("\(out.path): \(result.shape)")
    try common.printJSON(["out": .string(out.path), "shape": .array(result.shape.map { .int($0) })])
    return .done
  }

  private func check(_ map: any Map) throws -> ExitStatus {
    var mismatches = [("adjoint", 0.0), ("normal", 0.0), ("pullback", 0.0)]
    for seed in 0..<3 as Range<UInt64> {
      let point = try MapChecks.point(map, seed: seed)
      if let linear = try map.derivative(at: point.view, Scratch()) {
        mismatches[0].1 = max(mismatches[0].1, try MapChecks.adjointMismatch(linear, seed: seed))
        mismatches[1].1 = max(mismatches[1].1, try MapChecks.normalMismatch(linear, seed: seed))
      }
      mismatches[2].1 = max(mismatches[2].1, try MapChecks.pullbackMismatch(map, at: point, seed: seed))
    }
    let norm = try (map as? any LinearMap).map { try MapChecks.norm($0) }
    try common.printJSON(
      .object(
        [("input", map.input.json), ("output", map.output.json), ("norm", .optional(norm))]
          + mismatches.map { ("\($0.0)Mismatch", JSONValue.number($0.1)) }))
    try common.print(
      """
      \(map.input) to \(map.output), \(norm.map { "norm \($0)" } ?? "not linear: its derivative is measured")
      \(mismatches.map { "\($0.0) mismatch \($0.1)" }.joined(separator: "\n"))
      """)
    for ((name, found), bound) in zip(mismatches, [1e-12, 1e-12, 1e-7]) where !(found <= bound) {
      throw CommandFailure(.failure, "\(name) mismatch is \(found), expected at most \(bound)")
    }
    return .done
  }
}
