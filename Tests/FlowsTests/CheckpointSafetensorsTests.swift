import AIPOKernels
import Foundation
import Testing

@testable import AIPOFlows

@Suite struct CheckpointSafetensorsTests {
  static func file(_ header: String, data: Int = 0) -> [UInt8] {
    raw(Array(header.utf8), data: data)
  }

  static func raw(_ header: [UInt8], data: Int) -> [UInt8] {
    var bytes: [UInt8] = []
    for k in 0..<8 { bytes.append(UInt8(truncatingIfNeeded: header.count >> (8 * k))) }
    return bytes + header + [UInt8](repeating: 0, count: data)
  }

  static func entry(_ name: String, _ dtype: String, _ shape: String, _ offsets: String) -> String {
    "\"\(name)\":{\"dtype\":\"\(dtype)\",\"shape\":\(shape),\"data_offsets\":\(offsets)}"
  }

  @Test func readsBackExactly() throws {
    let file = Safetensors(
      metadata: ["b": "tab\tquote\" back\\ newline\n \u{1} é 😀", "a": ""],
      tensors: [
        NamedTensor(name: "z", shape: [2, 2], scalars: [Float.nan, -0.0, .leastNonzeroMagnitude, 1 / 3]),
        NamedTensor(name: "a", shape: [], scalars: [Double.pi]),
        NamedTensor(name: "empty", shape: [0, 5], scalars: [Double]()),
        NamedTensor(name: "i", shape: [3], values: .int64([.min, 0, .max])),
        NamedTensor(name: "u", shape: [3], values: .uint8([0, 7, 255])),
      ])
    let bytes = file.bytes
    let back = try Safetensors(bytes: bytes, path: "x")
    #expect(back.metadata == file.metadata)
    #expect(back.bytes == bytes)
    #expect(back.tensors.count == 5)
    for tensor in file.tensors {
      let read = try #require(back[tensor.name])
      #expect(read.shape == tensor.shape)
      let same = read.values.withUnsafeBytes { a in tensor.values.withUnsafeBytes { a.elementsEqual($0) } }
      #expect(same, "\(tensor.name)")
    }
    var shuffled = file
    shuffled.tensors.reverse()
    #expect(shuffled.bytes == bytes)
    // The data starts at a multiple of eight.
    #expect((0..<8).reduce(0) { $0 | Int(bytes[$1]) << (8 * $1) } % 8 == 0)
  }

  /// Written by the reference implementation (safetensors 0.4, Python): float32 [[1, 2, 3]] and an int64.
  @Test func readsTheReferenceImplementationsLayout() throws {
    let header =
      #"{"__metadata__":{"format":"pt"},"n":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},"#
      + #""w":{"dtype":"F32","shape":[1,3],"data_offsets":[8,20]}}    "#
    var bytes = Self.file(header)
    bytes += [5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x3F, 0, 0, 0, 0x40, 0, 0, 0x40, 0x40]
    let file = try Safetensors(bytes: bytes, path: "x")
    #expect(file.metadata == ["format": "pt"])
    #expect(file["n"]?.values == .int64([5]))
    #expect(file["w"] == NamedTensor(name: "w", shape: [1, 3], values: .float32([1, 2, 3])))
  }

  static let hostile: [(name: String, bytes: [UInt8])] = [
    ("empty", []),
    ("seven bytes", [1, 0, 0, 0, 0, 0, 0]),
    ("header longer than the file", raw(Array("{}".utf8), data: 0).dropLast().map { $0 }),
    ("header of 2^63 bytes", [0, 0, 0, 0, 0, 0, 0, 0x80] + Array("{}".utf8)),
    ("header of all ones", [UInt8](repeating: 0xFF, count: 64)),
    ("not UTF-8", raw([0x7B, 0x22, 0xC3, 0x28, 0x22, 0x7D], data: 0)),
    ("not JSON", file("hello world")),
    ("a list", file("[]")),
    ("unclosed", file("{\"a\":{\"dtype\":\"F32\"")),
    ("text after the object", file("{} x")),
    ("unknown dtype", file("{\(entry("a", "F8", "[1]", "[0,1]"))}", data: 1)),
    ("negative extent", file("{\(entry("a", "F32", "[-1]", "[0,4]"))}", data: 4)),
    ("fractional extent", file("{\(entry("a", "F32", "[1.5]", "[0,4]"))}", data: 4)),
    ("extent of 2^63", file("{\(entry("a", "F32", "[9223372036854775808]", "[0,4]"))}", data: 4)),
    (
      "extent of 30 digits",
      file("{\(entry("a", "U8", "[1\(String(repeating: "0", count: 29))]", "[0,4]"))}", data: 4)
    ),
    ("product of 2^64", file("{\(entry("a", "F32", "[4294967296,4294967296]", "[0,4]"))}", data: 4)),
    (
      "product that wraps to the size",
      file("{\(entry("a", "U8", "[4611686018427387905,4]", "[0,4]"))}", data: 4)
    ),
    ("reversed offsets", file("{\(entry("a", "F32", "[1]", "[4,0]"))}", data: 4)),
    ("three offsets", file("{\(entry("a", "F32", "[1]", "[0,4,8]"))}", data: 4)),
    ("beyond the data", file("{\(entry("a", "F32", "[2]", "[0,8]"))}", data: 4)),
    ("size that doesn't fit the shape", file("{\(entry("a", "F32", "[2]", "[0,4]"))}", data: 4)),
    ("overlap", file("{\(entry("a", "F32", "[2]", "[0,8]")),\(entry("b", "F32", "[1]", "[4,8]"))}", data: 8)),
    (
      "the same range twice",
      file("{\(entry("a", "F32", "[1]", "[0,4]")),\(entry("b", "F32", "[1]", "[0,4]"))}", data: 4)
    ),
    ("gap", file("{\(entry("a", "F32", "[1]", "[0,4]")),\(entry("b", "F32", "[1]", "[8,12]"))}", data: 12)),
    ("data that belongs to nothing", file("{\(entry("a", "F32", "[1]", "[0,4]"))}", data: 9)),
    ("a name twice", file("{\(entry("a", "F32", "[0]", "[0,0]")),\(entry("a", "F32", "[0]", "[0,0]"))}")),
    (
      "a key twice",
      file("{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}")
    ),
    ("unknown key", file("{\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0],\"x\":1}}")),
    ("no shape", file("{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,0]}}")),
    ("metadata twice", file("{\"__metadata__\":{},\"__metadata__\":{}}")),
    ("metadata key twice", file("{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}")),
    ("metadata of numbers", file("{\"__metadata__\":{\"a\":1}}")),
    ("half a surrogate pair", file("{\"__metadata__\":{\"a\":\"\\ud800\"}}")),
    ("newline in a name", file("{\"a\nb\":{}}")),
    ("deep nesting", file(String(repeating: "{\"a\":", count: 100_000))),
  ]

  @Test(arguments: 0..<hostile.count) func hostileFileIsRefusedInOneLine(k: Int) throws {
    let (name, bytes) = Self.hostile[k]
    let error = #expect(throws: FileError.self, "\(name)") {
      try Safetensors(bytes: bytes, path: "bad.safetensors")
    }
    let text = try #require(error?.description)
    #expect(text.hasPrefix("bad.safetensors: ") && !text.contains("\n") && text.count < 400, "\(text)")
  }

  @Test func everyTruncationAndDamagedByteIsSurvived() throws {
    let bytes = Safetensors(
      metadata: ["k": "v"],
      tensors: [
        NamedTensor(name: "a", shape: [2], scalars: [1.0, 2.0]),
        NamedTensor(name: "b", shape: [3], values: .uint8([1, 2, 3])),
      ]
    ).bytes
    for length in 0..<bytes.count {
      #expect(throws: FileError.self) { try Safetensors(bytes: Array(bytes[..<length]), path: "x") }
    }
    var random = Philox(seed: 1, purpose: .test)
    for _ in 0..<3000 {
      var damaged = bytes
      damaged[Int(random.next() % UInt64(bytes.count))] = UInt8(truncatingIfNeeded: random.next())
      if let file = try? Safetensors(bytes: damaged, path: "x") { #expect(file.tensors.count <= 2) }
    }
  }

  @Test func missingAndUnwritableFilesAreTold() throws {
    #expect(throws: FileError.self) { try Safetensors.load(path: "/nonexistent/x.safetensors") }
    #expect(throws: FileError.self) { try Safetensors(tensors: []).save(path: "/nonexistent/x.safetensors") }
    #expect(throws: FileError.self) { try Safetensors(tensors: []).save(path: "/dev/full") }
  }

  @Test func sha256KnownAnswers() {
    #expect(
      SHA256.hexDigest([]) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    #expect(
      SHA256.hexDigest(Array("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq".utf8))
        == "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1")
    #expect(
      SHA256.hexDigest(Array(repeating: 0x61, count: 1_000_000))
        == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0")
  }
}
