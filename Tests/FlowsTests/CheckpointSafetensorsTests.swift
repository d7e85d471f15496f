import AIPOKernels
import AIPOTestFiles
import Foundation
import Testing

@testable import AIPOFlows

@Suite struct CheckpointSafetensorsTests {
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
    var bytes = [UInt8(header.utf8.count), 0, 0, 0, 0, 0, 0, 0] + Array(header.utf8)
    bytes += [5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x3F, 0, 0, 0, 0x40, 0, 0, 0x40, 0x40]
    let file = try Safetensors(bytes: bytes, path: "x")
    #expect(file.metadata == ["format": "pt"])
    #expect(file["n"]?.values == .int64([5]))
    #expect(file["w"] == NamedTensor(name: "w", shape: [1, 3], values: .float32([1, 2, 3])))
  }

  @Test(arguments: BadFile.safetensors) func badFilesAreRefused(_ bad: BadFile) throws {
    let error = #expect(throws: FileError.self) { try Safetensors(bytes: bad.bytes, path: "bad.safetensors") }
    let text = try #require(error?.description)
    #expect(text.hasPrefix("bad.safetensors: ") && !text.contains("\n") && text.count < 400, "\(text)")
    #expect(text.contains(bad.says), "\(text)")
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
