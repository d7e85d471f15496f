import AIPOImaging
import AIPOKernels
import AIPOTestFiles
import Foundation
import Testing

struct NPZTests {
  /// Written by NumPy 2, deflated: `np.arange(24).reshape(2, 3, 4) / 7` in both byte orders, two precisions and
  /// Fortran order.
  private static let numpy = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .appending(components: "InterchangeTests", "Fixtures", "arrays.npz").path

  @Test func fromNumPy() throws {
    let arrays = try NPZFile.read(Self.numpy, as: Double.self)
    #expect(arrays.map(\.name).sorted() == ["big", "fortran", "little", "scalar", "single"])
    let expected = (0..<24).map { Double($0) / 7 }
    for (name, array) in arrays {
      if name == "scalar" {
        #expect(array.shape == [] && array.elements == [0.25])
      } else if name == "single" {
        #expect(array.elements == expected.map { Double(Float($0)) })
      } else {
        #expect(array.shape == [2, 3, 4] && array.elements == expected, "\(name)")
      }
    }
  }

  /// In whatever pieces an array comes, it is the same file, and NumPy's reader and ours find the rows in it.
  @Test func writtenInPieces() throws {
    let folder = TemporaryFolder()
    let whole = try Tensor<Double>(shape: [90, 37, 40], elements: (0..<133_200).map { 1 / Double($0 + 1) })
    for size in [1, 7, 90] {
      let writer = try NPYWriter<Double>(path: folder.file("\(size).npz"), rowShape: [37, 40])
      for start in stride(from: 0, to: 90, by: size) {
        try writer.append(try whole.rows(start..<min(start + size, 90)))
      }
      try writer.finish()
      #expect(try NPYFile.read(folder.file("\(size).npz"), as: Double.self) == whole)
    }
    #expect(try NPZFile.read(folder.file("1.npz"), as: Double.self).map(\.name) == ["arr_0"])
    let bytes = try [1, 7, 90].map { try Data(contentsOf: URL(filePath: folder.file("\($0).npz"))) }
    #expect(bytes[0] == bytes[1] && bytes[1] == bytes[2])
    let none = try NPYWriter<Float>(path: folder.file("none.npz"), rowShape: [2])
    try none.finish()
    #expect(try NPYFile.read(folder.file("none.npz"), as: Float.self).shape == [0, 2])
  }

  @Test func writtenAndRead() throws {
    let folder = TemporaryFolder()
    let path = folder.file("a.npz")
    let a = try Tensor<Float>(shape: [3, 1000], elements: (0..<3000).map { Float($0 % 7) })
    let b = try Tensor<Float>(shape: [0, 2])
    try NPZFile.write([("a", a), ("b", b)], to: path)
    let read = try NPZFile.read(path, as: Float.self)
    #expect(read.map(\.name) == ["a", "b"] && read[0].array == a && read[1].array == b)
    #expect(try FileManager.default.attributesOfItem(atPath: path)[.size] as? Int ?? 0 < 2000)
    // One array of an archive is read wherever an NPY is.
    try NPZFile.write([("only", a)], to: path)
    #expect(try NPYFile.read(path, as: Float.self) == a)
    try NPZFile.write([("x", a), ("y", b)], to: path)
    #expect(throws: FileError.self) { try NPYFile.read(path, as: Float.self) }
  }

  /// Each of the five could be what its header says, a gigabyte; together they are too much.
  @Test func entriesThatAreTooMuchTogether() throws {
    let folder = TemporaryFolder()
    let packed = [UInt8](repeating: 0, count: 1 << 20)
    let entries = (0..<5).map {
      TestFiles.Entry(name: "\($0).npy", bytes: packed, size: 1 << 30, method: 8)
    }
    for count in [4, 5] {
      let path = folder.write(TestFiles.zip(Array(entries[..<count])), "many.npz")
      let error = #expect(throws: FileError.self) { try NPZFile.read(path, as: Float.self) }
      let words = count == 4 ? "zip entry \"0.npy\"" : "arrays of 5368709120 bytes together"
      #expect(error?.description.contains(words) == true, "\(String(describing: error))")
    }
  }
}
