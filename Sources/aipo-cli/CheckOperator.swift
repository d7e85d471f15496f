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

  private func task(_ common: CommonOptions? = nil) throws -> ReconstructionTask {
    try ReconstructionTask(measurement, common: common).ofMeasurement()
  }

  func validate() throws {
    _ = try usage { try task() }
    if let channels { try require(("channels", channels, 1...1024)) }
  }

  func map(_ common: CommonOptions) throws -> any Map { try task(common).map(channels: channels) }
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
    try usage { try OutputFiles.require(out?.path, suffixes: [".npy"], key: "out") }
  }

  func outputs() -> [String?] { [out?.path] }

  func perform() throws -> ExitStatus {
    let map = try sized.map(common)
    guard let path = apply ?? adjoint, let out else { return try check(map) }
    let product = OperatorProduct(map, threads: common.threadCount)
    let result = try apply != nil ? product.apply(path) : product.adjoint(path)
    try NPYFile.write(result, to: out.path)
    try common.tell(
      "\(out.path): \(result.shape)",
      ["out": .string(out.path), "shape": .array(result.shape.map { .int($0) })])
    return .done
  }

  private func check(_ map: any Map) throws -> ExitStatus {
    let measures = try MapMeasures(map)
    try common.tell(
      measures.text,
      [
        "input": map.input.json, "output": map.output.json, "norm": .optional(measures.norm),
        "adjointMismatch": .number(measures.adjoint), "normalMismatch": .number(measures.normal),
        "pullbackMismatch": .number(measures.pullback),
      ])
    try measures.results.verify()
    return .done
  }
}
