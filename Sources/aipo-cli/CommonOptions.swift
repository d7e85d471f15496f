import AIPO
import ArgumentParser

extension Precision: ExpressibleByArgument {}

/// What every verb understands, spelled the same everywhere.
struct CommonOptions: ParsableArguments {
  @Option(
    name: .customLong("seed"),
    help: ArgumentHelp("Seed of everything random. (default: 0)", valueName: "n"))
  var givenSeed: UInt64?

  @Option(
    help: ArgumentHelp(
      "Threads to work with; results don't depend on it. (default: the cores allowed to the process)",
      valueName: "n"))
  var threads: Int?

  @Option(
    help: ArgumentHelp(
      "Memory that arrays may take, as 4G or 512M; what needs more is an error. (default: the machine's, or the "
        + "control group's)", valueName: "size"))
  var memory: MemorySize?

  @Option(
    name: .customLong("precision"),
    help: ArgumentHelp("Element type; sums are always in float64. (default: float32)", valueName: "type"))
  var givenPrecision: Precision?

  @Flag(help: "Print one JSON object on standard output and nothing else there.")
  var json = false

  @Flag(help: "Print nothing but errors and what --json asks for.")
  var quiet = false

  @Flag(name: [.customShort("v"), .long], help: "Tell more on standard error.")
  var verbose = false

  static let threadLimit = 1024

  func validate() throws {
    if let threads { try require(("threads", threads, 1...Self.threadLimit)) }
  }

  var seed: UInt64 { givenSeed ?? 0 }
  var precision: Precision { givenPrecision ?? .float32 }
  var threadCount: Int { threads ?? min(Job.ranks.threads, Self.threadLimit) }

  /// Prints `text` on standard output, unless the user wants JSON or silence.
  func print(_ text: String) throws(CommandFailure) {
    guard !json, !quiet else { return }
    try Console.output(text + "\n")
  }

  /// Prints what a verb comes to, as text or, if that is asked for, as the one JSON object on standard output; with
  /// what it takes to make it again where it is by a model.
  func tell(
    _ text: @autoclosure () throws -> String?, _ value: @autoclosure () throws -> JSONValue,
    by model: ModelSource? = nil
  ) throws {
    guard json else {
      if let text = try text() { try print(text) }
      return
    }
    let provenance = model.map {
      JSONValue(encoding: Provenance(model: $0, seed: seed, command: TypedCommand.text))
    }
    try Console.output((provenance.map { try value().adding($0) } ?? value()).pretty + "\n")
  }

  /// Sets the limit on arrays, and throws where there isn't the address space that so many threads need.
  func requireMemory() throws {
    MemoryLimit.bytes = memory?.bytes ?? MemoryLimit.ofSystem
    try WorkingMemory.require(threads: threadCount)
  }

  /// The model of a verb.
  func load<Scalar: KernelScalar>(_ options: ModelOptions, as _: Scalar.Type) throws -> LoadedModel<Scalar> {
    let model = try LoadedModel<Scalar>(options.model, threads: threadCount)
    remark("model \(model.source.path), \(model.shape), \(model.flow.parameterCount) parameters")
    return model
  }

  /// Shows on a line how far work has come, until it is done or the user stops it.
  func observer(_ progress: ProgressLine) -> WorkObserver {
    WorkObserver(onProgress: { progress.update($0) }, isCancelled: { Interrupt.requested })
  }

  /// Does work that is shown so. `title` is what is being done, `unit` what is counted, as in `images`.
  func observing<Result>(
    _ title: String, total: Int, unit: String, _ work: (WorkObserver) throws -> Result
  ) throws -> Result {
    let progress = ProgressLine(title, total: total, unit: unit, options: self)
    let result = try work(observer(progress))
    progress.finish()
    return result
  }

  /// A remark on standard error with `-v`.
  func remark(_ text: @autoclosure () -> String) {
    guard verbose, !quiet else { return }
    ProgressLine.clearCurrent()
    Console.error("aipo: " + text())
  }

  /// A warning on standard error.
  func warn(_ text: String) { warn([text]) }

  func warn(_ advices: [Advice]) { warn(advices.map(\.description)) }

  /// Says that some results aren't there, and gives the exit code; nil is said of none.
  func noResult(_ failure: String?) -> ExitStatus {
    guard let failure else { return .done }
    Console.error("aipo: " + failure)
    return .noResult
  }

  /// Warnings on standard error, a line each.
  func warn(_ lines: [String]) {
    guard !quiet, !lines.isEmpty else { return }
    ProgressLine.clearCurrent()
    for line in lines { Console.error("aipo: warning: " + line) }
  }
}

/// Which flow prior to use.
struct ModelOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      """
      The flow prior. (default: $AIPO_MODEL, else \(ModelLocator.defaultName) in ../share/aipo beside the \
      executable or in Models upward from it; reconstruct takes the prior of photographs there for images that \
      aren't grey and 28x28)
      """, valueName: "file"),
    completion: .file(extensions: ["safetensors"]))
  var model: String?

  /// The path of the model file.
  func path() throws(TaskError) -> String { try ModelLocator.path(named: model) }
}

/// The prior of a verb that is about a model itself: its argument, or as for other verbs.
struct NamedModelOptions: ParsableArguments {
  @Argument(help: "The model; as --model.", completion: .file(extensions: ["safetensors"]))
  var file: String?

  @OptionGroup var option: ModelOptions

  func validate() throws {
    if file != nil, option.model != nil {
      throw ValidationError("the model is named twice, as an argument and by --model")
    }
  }

  /// The path of the model file.
  func path() throws(TaskError) -> String {
    try ModelLocator.path(named: file ?? option.model, from: file == nil ? "--model" : "the argument")
  }
}

extension MemorySize: ExpressibleByArgument {
  public init?(argument: String) { self.init(argument) }
}
