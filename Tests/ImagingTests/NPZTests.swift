import AIPOImaging
import AIPOKernels
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
}
