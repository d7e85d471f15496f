import AIPOKernels
import AIPOTestFiles
import Testing

@testable import AIPOImaging

/// Arrays that h5py, scipy and nibabel wrote (Tests/Parity/make_formats.py).
struct ArrayFormatTests {
  private let folder = TemporaryFolder()

  private func read(_ name: String) throws -> Tensor<Double> {
    try NPYFile.read(Formats.path(name), nonFinite: .allowed)
  }

  private func refusal(_ body: () throws -> Void) -> String {
    let error = #expect(throws: FileError.self) { try body() }
    guard case .malformed = error else { return "\(String(describing: error))" }
    #expect(error?.description.contains { $0.isNewline } == false)
    return error?.description ?? ""
  }

  private func doubles(_ values: [Int]) -> [Double] { values.map { Double($0) } }

  private let floats = ramp(240, mul: 37, mod: 251).map { Double($0) / 8 - 1 }

  // MARK: HDF5

  @Test(arguments: ["earliest.h5", "latest.h5"]) func datasets(file: String) throws {
    func expect(_ member: String, _ shape: [Int], _ values: [Double]) throws {
      let array = try read("\(file):\(member)")
      #expect(array.shape == shape && array.elements == values, "\(member)")
    }
    let words = doubles(ramp(4000, mul: 3001, mod: 65536))
    try expect("/plain", [3, 8, 10], floats)
    try expect("plain", [3, 8, 10], floats)
    try expect("big", [3, 8, 10], floats)
    try expect("/scan/one/packed", [50, 80], words)
    try expect("scan/one/lzf", [50, 80], words)
    try expect("scan/one/chunks", [5, 7], ramp(35).map { Double(Int8(truncatingIfNeeded: $0)) - 3 })
    try expect("scan/one/flags", [4, 5], ramp(20).map { $0 > 127 ? 1 : 0 })
    try expect("scan/one/compact", [2, 3], doubles(ramp(6)))
    let complex = (0..<80).flatMap { [floats[$0], 2 * floats[80 + $0]] }
    try expect("scan/one/complex", [8, 10, 2], complex)
    var partial = [Double](repeating: 0.5, count: 24)
    for (k, value) in ramp(6).enumerated() { partial[(2 + k / 3) * 6 + 3 + k % 3] = Double(value) }
    try expect("scan/one/partial", [4, 6], partial)

    // As images: the last axis is innermost.
    let images = try ImageSet(path: Formats.path("\(file):/plain"))
    #expect(images.count == 3 && images.name(of: 1) == "\(file):/plain#1")
    #expect(try images.read([1], as: Double.self).elements == Array(floats[80..<160]))
  }

  @Test func onlyDatasetNeedsNoName() throws {
    let images = try ImageSet(path: Formats.path("one.h5"))
    #expect(images.count == 2 && images.isEightBit)
    #expect(try images.bytes([0, 1]).map(Int.init) == ramp(24))
    let says = refusal { _ = try read("earliest.h5") }
    #expect(says.contains("datasets of numbers is 9 (/big") && says.contains("earliest.h5:/big"), "\(says)")
  }

  @Test(arguments: [
    ("earliest.h5:/none", "one of big, plain, scan, text"), ("earliest.h5:/scan", "a group of one"),
    ("earliest.h5:/plain/x", "a group at /plain"), ("earliest.h5:/text", "lists of any length"),
    ("earliest.h5:/outside", "one of big"), ("external.h5:/x", "in other files"),
    ("external.h5", "datasets of numbers is 0"), ("grey8.tif:/x", "no"),
  ]) func placesThatHoldNoArray(place: String, word: String) {
    let says = refusal { _ = try read(place) }
    #expect(says.contains(word), "\(says)")
  }

  @Test(arguments: ["tree.h5", "paged.h5"]) func manyChunks(file: String) throws {
    #expect(try read(file).elements == doubles(ramp(2400)))
  }

  @Test func manyNames() throws {
    #expect(try read("many.h5:a37").elements == doubles(ramp(4).map { $0 + 37 }))
  }

  // MARK: MAT

  /// Ours by Fortran's order: MATLAB's `x(i, j, k)` is at `[i, j, k]`.
  @Test(arguments: ["packed.mat", "plain.mat"]) func variables(file: String) throws {
    let array = try read("\(file):x")
    #expect(array.shape == [3, 4, 2] && array.elements == doubles(ramp(24)))
    #expect(try ImageSet(path: Formats.path("\(file):u")).bytes([0]).map(Int.init) == ramp(12))
    #expect(try read("\(file):flag").elements == ramp(6).map { $0 > 50 ? 1 : 0 })
    #expect(try read("\(file):f").elements == ramp(4, mul: 37, mod: 251).map { Double($0) / 8 })
    let complex = try read("\(file):z")
    #expect(complex.shape == [2, 3, 2])
    #expect(complex.elements == ramp(6).flatMap { [Double($0), 2 * Double($0)] })
    let says = refusal { _ = try read(file) }
    #expect(says.contains("variables of numbers is 6 (x") && says.contains("x [3, 4, 2]"), "\(says)")
    #expect(refusal { _ = try read("\(file):none") }.contains("variable 'none' is missing"))
    #expect(refusal { _ = try read("\(file):A") }.contains("--operator"))
    #expect(refusal { _ = try read("\(file):s") }.contains("variable 's' is missing"))
  }

  @Test func otherMATLABFiles() throws {
    #expect(try read("one.mat").elements == doubles(ramp(12)))
    let array = try read("matlab73.mat")
    #expect(array.shape == [3, 4, 2] && array.elements == doubles(ramp(24)))
  }

  // MARK: Sparse matrices

  private func dense(_ matrix: SparseMatrix) -> [Double] {
    var values = [Double](repeating: 0, count: matrix.rows * matrix.columns)
    for row in 0..<matrix.rows {
      for place in matrix.rowStarts[row]..<matrix.rowStarts[row + 1] {
        values[row * matrix.columns + Int(matrix.columnIndices[place])] = matrix.values[place]
      }
    }
    return values
  }

  @Test(arguments: [
    ("csr.npz", "sparse-dense.npy"), ("csc.npz", "sparse-dense.npy"), ("coo.npz", "sparse-dense.npy"),
    ("general.mtx", "sparse-dense.npy"), ("general.mtx.gz", "sparse-dense.npy"),
    ("array.mtx", "sparse-dense.npy"), ("symmetric.mtx", "symmetric-dense.npy"),
    ("skew.mtx", "skew-dense.npy"),
  ]) func sparseMatrices(file: String, same: String) throws {
    let matrix = try #require(try SparseFile.read(Formats.path(file)))
    let expected = try read(same)
    #expect([matrix.rows, matrix.columns] == expected.shape && dense(matrix) == expected.elements)
  }

  @Test func otherSparseMatrices() throws {
    let pattern = try #require(try SparseFile.read(Formats.path("pattern.mtx")))
    #expect(dense(pattern) == [0, 0, 1, 1, 0, 0])
    let matlab = try #require(try SparseFile.read(Formats.path("sparse.mat")))
    let packed = try #require(try SparseFile.read(Formats.path("packed.mat:A")))
    #expect(matlab.rows == 6 && matlab.columns == 5 && matlab.values.count == 12 && packed == matlab)
    #expect(try SparseFile.read(Formats.path("sparse-dense.npy")) == nil)
    #expect(try SparseFile.read(Formats.path("one.mat")) == nil)
    #expect(refusal { _ = try SparseFile.read(Formats.path("bsr.npz")) }.contains("'bsr'"))
  }

  @Test(arguments: [
    ("%%MatrixMarket matrix coordinate real general\n2 2 1\n3 1 5\n", "row 1 to 2"),
    ("%%MatrixMarket matrix coordinate real general\n2 2 1\n1 0 5\n", "column 1 to 2"),
    ("%%MatrixMarket matrix coordinate real general\n2 2 1\n1 1 nan\n", "finite"),
    ("%%MatrixMarket matrix coordinate real general\n2 2 2\n1 1 1\n", "truncated"),
    ("%%MatrixMarket matrix coordinate real general\n2 2 1\n1 1 1\n1 2 1\n", "more than 1"),
    ("%%MatrixMarket matrix coordinate real general\n2147483647 2 1\n1 1 1\n", "with 1 entries"),
    ("%%MatrixMarket matrix coordinate real general\n99999999999999999999 2 1\n1 1 1\n", "sizes"),
    ("%%MatrixMarket matrix coordinate real general\n0 0 0\n", "sizes"),
    ("%%MatrixMarket matrix array real general\n2147483647 2147483647\n1\n", "truncated"),
    ("%%MatrixMarket matrix coordinate complex general\n1 1 1\n1 1 1 1\n", "field"),
    ("%%MatrixMarket matrix coordinate real hermitian\n1 1 1\n1 1 1\n", "symmetry"),
    ("%%MatrixMarket matrix coordinate real symmetric\n2 3 1\n1 1 1\n", "sizes"),
    ("%%MatrixMarket", "banner"), ("%%MatrixMarket matrix coordinate real general\n%", "sizes"),
  ]) func textsThatAreNoMatrix(text: String, word: String) {
    let path = folder.write(text, "a.mtx")
    let says = refusal { _ = try SparseFile.read(path) }
    #expect(says.contains(word), "\(says)")
  }

  // MARK: NIfTI and CFL

  /// Column innermost: `data[i, j, k]` of nibabel is slice k, row j, column i.
  private var volume: [Double] {
    let values = ramp(60, mul: 37, mod: 251)
    return (0..<3).flatMap { k in
      (0..<4).flatMap { j in (0..<5).map { i in Double(values[(i * 4 + j) * 3 + k] - 60) } }
    }
  }

  @Test(arguments: [
    "int16.nii", "int16.nii.gz", "second.nii", "quaternion.nii", "big-endian.nii", "scaled.nii",
  ]) func volumes(file: String) throws {
    let array = try read(file)
    let scaled = file == "scaled.nii" ? volume.map { 0.5 * $0 - 1 } : volume
    #expect(array.shape == [3, 4, 5] && array.elements == scaled)
    let set = try ImageSet(path: Formats.path(file))
    let range = ImageTransform(range: ValueRange(low: 0, high: 1))
    #expect(set.count == 3)
    #expect(try set.read([2], as: Double.self, transform: range).elements == Array(scaled[40...]))
  }

  @Test func geometries() throws {
    let whole = try #require(try ImageSet(path: Formats.path("int16.nii")).geometry(of: 0))
    func near(_ a: [SIMD4<Double>]?, _ b: [SIMD4<Double>]) -> Bool {
      zip(a ?? [], b).allSatisfy { x, y in (0..<4).allSatisfy { abs(x[$0] - y[$0]) < 1e-5 } } && a != nil
    }
    #expect(near(whole.space, [[-2, 0.1, 0, 10], [0.2, 3, 0, -20], [0, 0.3, 4, 30]]))
    #expect(abs(whole.columnStep - 2.00998) < 1e-5 && whole.sliceStep == 4)
    let set = try ImageSet(path: Formats.path("int16.nii"))
    #expect(near(set.geometry(of: 2)?.space, [[-2, 0.1, 0, 10], [0.2, 3, 0, -20], [0, 0.3, 4, 38]]))
    // A crop of 5x4 to 3x2 takes away a pixel on each side; half the size is twice the step.
    let crop = ImageTransform(crop: PixelSize(height: 2, width: 3))
    #expect(
      near(
        set.geometry(of: 0, transform: crop)?.space,
        [[-2, 0.1, 0, 8.1], [0.2, 3, 0, -16.8], [0, 0.3, 4, 30.3]]))
    let resized = try #require(
      set.geometry(of: 0, transform: ImageTransform(resize: PixelSize(height: 2, width: 5))))
    #expect(near(resized.space, [[-2, 0.2, 0, 10.05], [0.2, 6, 0, -18.5], [0, 0.6, 4, 30.15]]))
    #expect(abs(resized.rowStep / whole.rowStep - 2) < 1e-12)
    let turned = try #require(try ImageSet(path: Formats.path("quaternion.nii")).geometry(of: 0))
    #expect(near(turned.space, [[0, -3, 0, 1], [2, 0, 0, 2], [0, 0, -4, 3]]))
  }

  @Test func timeIsSlicesToo() throws {
    let array = try read("time.nii")
    #expect(array.shape == [4, 4, 3])
    // The second slice of the first volume is data[i, j, 1, 0], of which this is i = 1, j = 2.
    let place: Int = ((1 * 4 + 2) * 2 + 1) * 2
    let value: Int = ramp(48)[place]
    #expect(array.elements[12 + 3 * 2 + 1] == Double(value))
  }

  @Test func kSpace() throws {
    for name in ["kspace.cfl", "kspace.hdr"] {
      let array = try read(name)
      #expect(array.shape == [2, 3, 4, 2])
      let (real, imaginary) = (ramp(24, mul: 37, mod: 251), ramp(24, mul: 41, mod: 251))
      #expect(array.elements == zip(real, imaginary).flatMap { [Double($0), Double($1)] })
    }
    folder.write("# Dimensions\n4 3 1 5\n", "a.hdr")
    folder.write([UInt8](repeating: 0, count: 7), "a.cfl")
    #expect(refusal { _ = try NPYFile.read(folder.file("a.cfl"), as: Float.self) }.contains("7 bytes"))
    folder.write("# Dimensions\n4 -3\n", "a.hdr")
    #expect(refusal { _ = try NPYFile.read(folder.file("a.cfl"), as: Float.self) }.contains("positive"))
    folder.write("# Dimensions\n4294967296 4294967296 4294967296\n", "a.hdr")
    #expect(refusal { _ = try NPYFile.read(folder.file("a.cfl"), as: Float.self) }.contains("memory"))
  }

  // MARK: Writing

  @Test(arguments: ["v.nii", "v.nii.gz"]) func volumesAreReadAgain(name: String) throws {
    let image = try Tensor<Float>(shape: [3, 4, 5, 1], elements: ramp(60).map { Float($0) / 200 - 0.1 })
    let geometry = try #require(try ImageSet(path: Formats.path("int16.nii")).geometry(of: 0))
    try ImageOutput.write(image, to: folder.file(name), geometry: geometry)
    let set = try ImageSet(path: folder.file(name))
    #expect(set.count == 3)
    #expect(try set.read(0..<3, as: Float.self) == image)
    #expect(set.geometry(of: 0) == geometry)
    let doubles = try Tensor<Double>(shape: [1, 4, 5, 1], elements: ramp(20).map { Double($0) / 7 })
    try ImageOutput.write(doubles, to: folder.file(name))
    #expect(try ImageSet(path: folder.file(name)).read([0], as: Double.self) == doubles)
    let colour = try Tensor<Float>(shape: [1, 1, 1, 3])
    #expect(throws: FileError.self) { try ImageOutput.write(colour, to: folder.file(name)) }
  }

  // MARK: What isn't whole

  /// Whatever is cut off is missed, and no claim of a size is believed.
  @Test(arguments: [
    "one.h5", "tree.h5", "paged.h5", "matlab73.mat", "one.mat", "sparse.mat", "int16.nii", "int16.nii.gz",
    "second.nii", "csr.npz", "general.mtx.gz",
  ]) func truncated(name: String) throws {
    let whole = Formats.bytes(name)
    // At the end of an HDF5 file may be room that nothing is in.
    let isHDF5 = whole.count > 520 && (name.hasSuffix(".h5") || name == "matlab73.mat")
    for length in [8, 20, 130, 400, whole.count / 3] + (isHDF5 ? [] : [whole.count / 2, whole.count - 9])
    where length < whole.count - 1 {
      let path = folder.write(Array(whole.prefix(length)), "cut")
      let says = refusal {
        if let matrix = try SparseFile.read(path) { _ = matrix }
        _ = try NPYFile.read(path, as: Float.self)
      }
      #expect(!says.isEmpty, "\(length)")
    }
  }

  /// Every byte of the headers turned, one after another: an error or an array, but nothing else.
  @Test(arguments: ["one.h5", "one.mat", "int16.nii", "csr.npz", "grey8.tif", "lossless.webp"])
  func damaged(name: String) throws {
    let whole = Formats.bytes(name)
    for place in 0..<min(whole.count, 1200) {
      for value in [0xFF, 0x7F, whole[place] ^ 1] as [UInt8] {
        var bytes = whole
        bytes[place] = value
        let path = folder.write(bytes, "damaged")
        _ = try? SparseFile.read(path)
        let error = #expect(throws: (any Error).self) {
          _ = try NPYFile.read(path, as: Float.self)
          _ = try ImageSet(path: path).read([0], as: Float.self)
          throw FileError.missing(path: path, reason: "nothing was wrong")
        }
        #expect(error is FileError || error is TensorError, "\(String(describing: error))")
      }
    }
  }
}
