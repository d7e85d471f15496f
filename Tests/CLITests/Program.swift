import Foundation
import Testing

/// The built command, run as a process.
enum Program {
  struct Result {
    let status: Int32
    let wasKilled: Bool
    let output: String
    let error: String

    /// The lines of standard error.
    var errorLines: [Substring] { error.split(separator: "\n") }
  }

  /// The program lies beside the tests that were built with it.
  static let path: String = {
    let tests = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
    return tests.deletingLastPathComponent().appendingPathComponent("aipo").path
  }()

  /// Runs to the end. Standard output goes to the file `outputPath`, where one is given.
  static func run(
    _ arguments: [String], in folder: Scratch, environment: [String: String] = [:],
    outputPath: String? = nil
  ) throws -> Result {
    let running = try Running(arguments, in: folder, environment: environment, outputPath: outputPath)
    return running.wait()
  }

  /// A process under way.
  final class Running {
    private let process = Process()
    private let folder: Scratch
    private let name: String
    private let ownOutput: Bool

    init(
      _ arguments: [String], in folder: Scratch, environment: [String: String] = [:],
      outputPath: String? = nil
    ) throws {
      self.folder = folder
      name = "run-\(UUID().uuidString)"
      ownOutput = outputPath == nil
      process.executableURL = URL(fileURLWithPath: Program.path)
      process.arguments = arguments
      process.currentDirectoryURL = URL(fileURLWithPath: folder.path)
      var all = ProcessInfo.processInfo.environment
      all["AIPO_MODEL"] = nil
      process.environment = all.merging(environment) { $1 }
      for suffix in ["err", "out"] { try folder.write("", to: "\(name).\(suffix)") }
      process.standardInput = FileHandle.nullDevice
      process.standardError = try FileHandle(forWritingTo: URL(fileURLWithPath: folder["\(name).err"]))
      process.standardOutput = try FileHandle(
        forWritingTo: URL(fileURLWithPath: outputPath ?? folder["\(name).out"]))
      try process.run()
    }

    func send(_ signal: Int32) { kill(process.processIdentifier, signal) }

    var isRunning: Bool { process.isRunning }

    func wait() -> Result {
      process.waitUntilExit()
      defer {
        for suffix in ["out", "err"] {
          try? FileManager.default.removeItem(atPath: folder["\(name).\(suffix)"])
        }
      }
      return Result(
        status: process.terminationStatus, wasKilled: process.terminationReason == .uncaughtSignal,
        output: (try? String(contentsOfFile: folder["\(name).out"], encoding: .utf8)) ?? "",
        error: (try? String(contentsOfFile: folder["\(name).err"], encoding: .utf8)) ?? "")
    }
  }
}

/// A folder of a test's own, removed with the object.
final class Scratch: Sendable {
  let path: String

  init() throws {
    path = NSTemporaryDirectory() + "aipo-cli-tests-" + UUID().uuidString
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  /// The path of a name in the folder.
  subscript(_ name: String) -> String { path + "/" + name }

  func write(_ bytes: [UInt8], to name: String) throws {
    try Data(bytes).write(to: URL(fileURLWithPath: self[name]))
  }

  func write(_ text: String, to name: String) throws { try write(Array(text.utf8), to: name) }

  func read(_ name: String) throws -> [UInt8] {
    Array(try Data(contentsOf: URL(fileURLWithPath: self[name])))
  }

  func exists(_ name: String) -> Bool { FileManager.default.fileExists(atPath: self[name]) }

  /// Everything in the folder and below, hidden files too.
  var names: [String] {
    get throws { try FileManager.default.subpathsOfDirectory(atPath: path).sorted() }
  }
}

/// Arrays in NumPy's format 1.0, written and read by the tests themselves.
enum TestNPY {
  static func bytes(shape: [Int], floats: [Float]) -> [UInt8] {
    header("<f4", shape)
      + floats.flatMap { value in withUnsafeBytes(of: value.bitPattern.littleEndian) { Array($0) } }
  }

  static func bytes(shape: [Int], doubles: [Double]) -> [UInt8] {
    header("<f8", shape)
      + doubles.flatMap { value in withUnsafeBytes(of: value.bitPattern.littleEndian) { Array($0) } }
  }

  static func bytes(shape: [Int], integers: [UInt8]) -> [UInt8] { header("|u1", shape) + integers }

  /// Elements of a type by its name, as they lie in the file.
  static func bytes(_ type: String, _ shape: [Int], _ elements: [UInt8]) -> [UInt8] {
    header(type, shape) + elements
  }

  /// The bits of a number that 16 bits hold exactly, and which isn't too small.
  static func half(_ value: Double) -> UInt16 {
    guard value != 0 else { return 0 }
    let exponent = UInt16(value.exponent + 15)
    let fraction = UInt16((value.magnitude.significand - 1) * 1024)
    return (value < 0 ? 0x8000 : 0) | exponent << 10 | fraction
  }

  private static func header(_ type: String, _ shape: [Int]) -> [UInt8] {
    let extents = shape.map { "\($0)," }.joined(separator: " ")
    var text = "{'descr': '\(type)', 'fortran_order': False, 'shape': (\(extents)), }"
    while (10 + text.utf8.count + 1) % 64 != 0 { text += " " }
    text += "\n"
    let count = UInt16(text.utf8.count)
    return [0x93] + Array("NUMPY".utf8) + [1, 0, UInt8(count & 0xFF), UInt8(count >> 8)] + Array(text.utf8)
  }

  /// Shape and values of a float file.
  static func read(_ bytes: [UInt8]) throws -> (shape: [Int], values: [Double], type: String) {
    let length = Int(bytes[8]) | Int(bytes[9]) << 8
    let text = String(decoding: bytes[10..<10 + length], as: UTF8.self)
    let open = try #require(text.firstIndex(of: "("))
    let close = try #require(text.firstIndex(of: ")"))
    let shape = text[text.index(after: open)..<close].split(separator: ",").compactMap {
      Int($0.trimmingCharacters(in: .whitespaces))
    }
    let type = text.contains("<f8") ? "<f8" : "<f4"
    let body = Array(bytes[(10 + length)...])
    let size = type == "<f8" ? 8 : 4
    let values: [Double] = stride(from: 0, to: body.count, by: size).map { start in
      let slice = body[start..<start + size].reversed()
      let bits = slice.reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
      return size == 8 ? Double(bitPattern: bits) : Double(Float(bitPattern: UInt32(bits)))
    }
    return (shape, values, type)
  }
}

/// Images in the format of MNIST.
enum TestIDX {
  static func bytes(count: Int, side: Int, pixel: (_ image: Int, _ y: Int, _ x: Int) -> UInt8) -> [UInt8] {
    var bytes: [UInt8] = [0, 0, 8, 3]
    for extent in [count, side, side] {
      bytes += [
        UInt8(extent >> 24 & 0xFF), UInt8(extent >> 16 & 0xFF), UInt8(extent >> 8 & 0xFF),
        UInt8(extent & 0xFF),
      ]
    }
    for image in 0..<count {
      for y in 0..<side { for x in 0..<side { bytes.append(pixel(image, y, x)) } }
    }
    return bytes
  }
}
