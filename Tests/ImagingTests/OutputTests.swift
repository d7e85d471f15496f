import AIPOKernels
import AIPOTestFiles
import Testing

@testable import AIPOImaging

struct OutputTests {
  @Test(arguments: [1, 3])
  func pngRoundTrip(channels: Int) throws {
    let folder = TemporaryFolder()
    let count = 6 * 7 * channels
    let tensor = try Tensor<Float>(
      shape: [1, 6, 7, channels], elements: (0..<count).map { Float($0) / Float(count) * 1.4 - 0.2 })
    let path = folder.file("a.PNG")
    try ImageOutput.write(tensor, to: path)
    let set = try ImageSet(path: path)
    #expect(set.commonShape == ImageShape(height: 6, width: 7, channels: channels))
    #expect(try set.bytes([0]) == tensor.elements.map { UInt8(min(max(256 * $0, 0), 255)) })
    #expect(folder.names == ["a.PNG"])
  }

  @Test func severalImagesBecomeAGrid() throws {
    let folder = TemporaryFolder()
    let tensor = try Tensor<Double>(shape: [5, 2, 3, 1], elements: (0..<30).map { Double($0 / 6) / 8 })
    let output = try ImageOutput<Double>(
      path: folder.file("grid.png"), imageShape: ImageShape(height: 2, width: 3, channels: 1))
    try output.append(tensor.rows([0, 1, 2]))
    try output.append(tensor.rows([3, 4]))
    try output.finish()
    let set = try ImageSet(path: folder.file("grid.png"))
    #expect(set.commonShape == ImageShape(height: 6, width: 13, channels: 1))
    let pixels = try set.bytes([0])
    for k in 0..<6 {
      let corner = k / 3 * 4 * 13 + k % 3 * 5
      #expect(pixels[corner] == (k < 5 ? UInt8(32 * k) : 255))
    }
    #expect(pixels[3] == 255 && pixels[2 * 13] == 255)
  }

  /// Values that come in pieces of any length, as rows of an image from several processes do.
  @Test(arguments: ["a.png", "a.npy", "a.npz", "a.tif", "a.nii.gz"])
  func anImageInPiecesIsTheSameFile(_ name: String) throws {
    let folder = TemporaryFolder()
    let shape = ImageShape(height: 9, width: 7, channels: 1)
    let images = try Tensor<Float>(shape: [2, 9, 7, 1], elements: (0..<126).map { Float($0) / 120 - 0.02 })
    try ImageOutput.write(images, to: folder.file("whole-" + name))
    let output = try ImageOutput<Float>(path: folder.file(name), imageShape: shape)
    for piece in [0..<1, 1..<50, 50..<50, 50..<64, 64..<126] {
      try images.withUnsafeBufferPointer { all in
        try output.append(values: UnsafeBufferPointer(rebasing: all[piece]))
      }
    }
    try output.finish()
    #expect(try bytes(of: folder.file(name)) == bytes(of: folder.file("whole-" + name)))
  }

  @Test func npyRoundTripInBothPrecisions() throws {
    let folder = TemporaryFolder()
    let values = [-1.5, 0, 1e-30, 3, 0.1, 1e30]
    let doubles = try Tensor<Double>(shape: [2, 1, 3, 1], elements: values)
    try ImageOutput.write(doubles, to: folder.file("d.npy"))
    #expect(try NPYFile.read(folder.file("d.npy")) == doubles)
    #expect(try ImageSet(path: folder.file("d.npy")).read(0..<2) == doubles)
    let floats = try doubles.converted(to: Float.self)
    try NPYFile.write(floats, to: folder.file("f.npy"))
    #expect(try NPYFile.read(folder.file("f.npy")) == floats)
    #expect(try bytes(of: folder.file("f.npy")).count == 128 + 24)
  }

  @Test func npyOfUnknownLength() throws {
    let folder = TemporaryFolder()
    let writer = try NPYWriter<Float>(path: folder.file("z.npy"), rowShape: [3])
    for k in 0..<40 { try writer.append(Tensor(shape: [1, 3], elements: [Float(k), 1, 2])) }
    #expect(!folder.names.contains("z.npy"))
    try writer.finish()
    let read: Tensor<Float> = try NPYFile.read(folder.file("z.npy"))
    #expect(read.shape == [40, 3] && read[flat: 117] == 39)
  }

  @Test func refusesOutputsBeforeWork() throws {
    let folder = TemporaryFolder()
    let grey = ImageShape(height: 2, width: 2, channels: 1)
    let cases = [
      ("/dev/full", grey), (folder.file("a.jpg"), grey), (folder.file("none/a.png"), grey),
      (folder.file("a.png"), ImageShape(height: 2, width: 2, channels: 2)),
    ]
    for (path, shape) in cases {
      let error = #expect(throws: FileError.self) { try ImageOutput<Float>(path: path, imageShape: shape) }
      guard case .unwritable = error else {
        Issue.record("\(path): \(String(describing: error))")
        continue
      }
    }
    #expect(folder.names.isEmpty)
  }
}

struct NPYFileTests {
  private func read(_ fixture: String) throws -> Tensor<Double> {
    let folder = TemporaryFolder()
    return try NPYFile.read(folder.write(Fixtures.bytes(fixture), "a"))
  }

  @Test func everyRankAndType() throws {
    let values = (0..<24).map { Double($0) / 8 - 1 }
    #expect(try read("vector") == Tensor(shape: [5], elements: values[..<5]))
    #expect(try read("scalar") == Tensor(shape: [], elements: [2.5]))
    #expect(try read("fortran4") == Tensor(shape: [1, 2, 4, 3], elements: values))
    #expect(try read("f8Big") == Tensor(shape: [2, 3, 4], elements: values))
    #expect(try read("bool") == Tensor(shape: [3, 4], elements: ramp(12).map { $0 > 127 ? 1 : 0 }))
    #expect(try read("i8") == Tensor(shape: [6], elements: ramp(6).map { Double($0 - 100) }))
    #expect(
      try read("u2Big") == Tensor(shape: [5], elements: ramp(5, mul: 9001, mod: 65536).map { Double($0) }))
    #expect(try read("empty") == Tensor(shape: [0, 2, 2], elements: []))
    #expect(try read("npyGzip") == Tensor(shape: [2, 3, 4], elements: ramp(24).map { Double($0) }))
  }

  @Test func moreThanOnePiece() throws {
    let folder = TemporaryFolder()
    let tensor = try Tensor<Double>(shape: [3, 50_000], elements: (0..<150_000).map { Double($0) * 0.37 })
    try NPYFile.write(tensor, to: folder.file("a.npy"))
    #expect(try NPYFile.read(folder.file("a.npy")) == tensor)
  }

  @Test func nonFiniteAndOverflow() throws {
    let folder = TemporaryFolder()
    let path = folder.write(Fixtures.bytes("nan"), "nan.npy")
    let error = #expect(throws: FileError.self) { try NPYFile.read(path, as: Float.self) }
    #expect(error?.description.contains("value at [0, 1] is nan") == true)
    #expect(try NPYFile.read(path, as: Float.self, nonFinite: .allowed)[flat: 1].isNaN)
    let huge = folder.write(Fixtures.bytes("huge64"), "huge.npy")
    #expect(try NPYFile.read(huge, as: Double.self)[flat: 0] == 1e300)
    #expect(throws: FileError.self) { try NPYFile.read(huge, as: Float.self) }
  }

  @Test func imagesAreNoArrays() throws {
    let folder = TemporaryFolder()
    let path = folder.write(Fixtures.bytes("grey8"), "a.npy")
    #expect(throws: FileError.self) { try NPYFile.read(path, as: Float.self) }
  }
}
