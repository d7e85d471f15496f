import AIPO
import ArgumentParser

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// The element type that images and the flow are worked in; sums are in float64 either way.
enum Precision: String, CaseIterable, ExpressibleByArgument {
  case float32, float64
}

/// What every verb understands, spelled the same everywhere.
struct CommonOptions: ParsableArguments {
  @Option(help: ArgumentHelp("Seed of everything random.", valueName: "n"))
  var seed: UInt64 = 0

  @Option(
    help: ArgumentHelp(
      "Threads to work with; results don't depend on it. (default: the cores allowed to the process)",
      valueName: "n"))
  var threads: Int?

  @Option(help: ArgumentHelp("Element type; sums are always in float64.", valueName: "type"))
  var precision: Precision = .float32

  @Flag(help: "Print one JSON object on standard output and nothing else there.")
  var json = false

  @Flag(help: "Print nothing but errors and what --json asks for.")
  var quiet = false

  @Flag(name: [.customShort("v"), .long], help: "Tell more on standard error.")
  var verbose = false

  static let threadLimit = 1024

  func validate() throws {
    if let threads, !(1...Self.threadLimit).contains(threads) {
      throw ValidationError("--threads is \(threads), expected 1 to \(Self.threadLimit)")
    }
  }

  var threadCount: Int { threads ?? Self.allowedCores }

  /// Prints `text` on standard output, unless the user wants JSON or silence.
  func print(_ text: String) throws(CommandFailure) {
    guard !json, !quiet else { return }
    try Console.output(text + "\n")
  }

  /// Prints `value` as the one JSON object on standard output, if that is asked for.
  func printJSON(_ value: @autoclosure () -> JSONValue) throws(CommandFailure) {
    guard json else { return }
    try Console.output(value().pretty + "\n")
  }

  /// A remark on standard error with `-v`.
  func remark(_ text: @autoclosure () -> String) {
    guard verbose, !quiet else { return }
    ProgressLine.clearCurrent()
    Console.error("aipo: " + text())
  }

  /// A warning on standard error.
  func warn(_ text: String) {
    guard !quiet else { return }
    ProgressLine.clearCurrent()
    Console.error("aipo: warning: " + text)
  }

  /// Cores that the process may run on: its affinity mask, where the system tells it.
  private static var allowedCores: Int {
    var count = 0
    if let status = fopen("/proc/self/status", "r") {
      var line = [CChar](repeating: 0, count: 4096)
      while fgets(&line, Int32(line.count), status) != nil {
        let text = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        guard text.hasPrefix("Cpus_allowed:") else { continue }
        count = text.dropFirst("Cpus_allowed:".count).reduce(0) {
          $0 + ($1.hexDigitValue?.nonzeroBitCount ?? 0)
        }
        break
      }
      fclose(status)
    }
    if count == 0 { count = sysconf(Int32(_SC_NPROCESSORS_ONLN)) }
    return min(max(count, 1), threadLimit)
  }
}

/// Which flow prior to use.
struct ModelOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      """
      The flow prior. (default: $AIPO_MODEL, else \(ModelLocator.defaultName) in ../share/aipo beside the \
      executable or in Models upward from it)
      """, valueName: "file"),
    completion: .file(extensions: ["safetensors"]))
  var model: String?

  /// The path of the model file.
  func path() throws(CommandFailure) -> String { try ModelLocator.path(named: model) }
}

/// How images of another size are brought to the model's.
struct SizeOptions: ParsableArguments {
  @Option(help: ArgumentHelp("Resize every image. (default: no)", valueName: "HxW"))
  var resize: PixelSize?

  @Option(
    help: ArgumentHelp("Cut this size from the middle of every image, after --resize. (default: no)",
      valueName: "HxW"))
  var crop: PixelSize?
}

/// A height and a width, written `28x28`.
struct PixelSize: Hashable, ExpressibleByArgument, CustomStringConvertible {
  let height: Int
  let width: Int

  init?(argument: String) {
    let parts = argument.split(separator: "x", omittingEmptySubsequences: false)
    guard parts.count == 2, let height = Int(parts[0]), let width = Int(parts[1]),
      (1...65_536).contains(height), (1...65_536).contains(width)
    else { return nil }
    self.height = height
    self.width = width
  }

  var description: String { "\(height)x\(width)" }
}
