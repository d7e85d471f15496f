import AIPOKernels
import AIPOTestFiles
import Testing

@testable import AIPOImaging

struct BadInputTests {
  @Test(arguments: BadFile.images) func isRefused(_ input: BadFile) {
    let folder = TemporaryFolder()
    let path = folder.write(input.bytes, "input")
    let error = #expect(throws: FileError.self) {
      let set = try ImageSet(path: path)
      _ = try set.read(0..<set.count, as: Float.self)
    }
    guard case .malformed = error else {
      Issue.record("\(String(describing: error))")
      return
    }
    #expect(error?.path == path)
    #expect(error?.description.contains(input.says) == true, "\(error?.description ?? "")")
    #expect(error?.description.contains { $0.isNewline } == false)
  }

  @Test func missingFiles() {
    let folder = TemporaryFolder()
    let error = #expect(throws: FileError.self) { try ImageSet(path: folder.file("none.png")) }
    #expect(error == .missing(path: folder.file("none.png"), reason: "no such file or directory"))
  }

  @Test func foldersWithoutImages() {
    let folder = TemporaryFolder()
    #expect(throws: FileError.self) { try ImageSet(path: folder.path) }
    folder.write(Array("text".utf8), "a.txt")
    #expect(throws: FileError.self) { try ImageSet(path: folder.path) }
    folder.write(Fixtures.bytes("grey8"), "a.png")
    folder.write(Array("text".utf8), "b.png")
    let error = #expect(throws: FileError.self) { try ImageSet(path: folder.path) }
    #expect(error?.path == folder.file("b.png"))
  }

  @Test func indicesAndCropsBeyondTheData() throws {
    let folder = TemporaryFolder()
    let set = try ImageSet(path: folder.write(Fixtures.bytes("u1"), "a.npy"))
    let cases: [([Int], ImageTransform, String)] = [
      ([0, 2], .identity, "0 to 1"), ([-1], .identity, "0 to 1"),
      ([0], ImageTransform(crop: PixelSize(height: 4, width: 4)), "at least 4x4"),
    ]
    for (indices, transform, word) in cases {
      let error = #expect(throws: FileError.self) {
        try set.read(indices, as: Float.self, transform: transform)
      }
      #expect(error?.description.contains(word) == true)
    }
  }

  @Test func aFileThatShrinksMeanwhile() throws {
    let folder = TemporaryFolder()
    let path = folder.write(Fixtures.bytes("u1"), "a.npy")
    let set = try ImageSet(path: path)
    folder.write(Array(Fixtures.bytes("u1").dropLast(5)), "a.npy")
    #expect(throws: FileError.self) { try set.bytes([1]) }
  }
}
