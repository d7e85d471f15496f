import AIPOKernels

/// Sparse matrices in files: Matrix Market, scipy's NPZ (`scipy.sparse.save_npz` of CSR, CSC or COO), sparse variables of
/// MAT files.
public enum SparseFile {
  /// Nil where the file is something else, as an array. Throws `missing` or `malformed`: an index out of range, a value
  /// that isn't finite, more rows and columns than a matrix of so few entries has.
  public static func read(_ path: String) throws(FileError) -> SparseMatrix? {
    let place = FilePlace(path)
    let file = try InputFile(path: place.file)
    let beginning = try file.next(ArrayData.headBytes)
    if beginning.starts(with: [0x1F, 0x8B]) {
      let stream = try ByteStream(gzip: file, pending: beginning)
      return try stream.peek(14) == MatrixMarket.banner ? try MatrixMarket.read(stream) : nil
    }
    if beginning.starts(with: MatrixMarket.banner) {
      return try MatrixMarket.read(ByteStream(file, pending: beginning))
    }
    if ZipArchive.isZip(beginning) {
      let archive = try NPZFile.archive(file)
      let names = Set(archive.entries.map(\.name))
      return names.isSuperset(of: ["format.npy", "shape.npy", "data.npy"]) ? try npz(archive) : nil
    }
    if FileKind(beginning, path: place.file) == .matlab {
      return try MAT(.whole(file, beginning: beginning)).sparse(place.member)
    }
    return nil
  }

  /// The arrays that scipy writes.
  private static func npz(_ archive: ZipArchive) throws(FileError) -> SparseMatrix {
    let source = archive.source
    func array(_ name: String) throws(FileError) -> ArrayData {
      guard let entry = archive.entries.first(where: { $0.name == name + ".npy" }) else {
        throw source.malformed(
          "sparse NPZ", "without an array '\(name)'", "what scipy.sparse.save_npz writes")
      }
      return try NPZFile.array(entry, of: archive)
    }
    func values(_ name: String) throws(FileError) -> [Double] {
      let array = try array(name)
      let count = try array.header.byteCount(path: source.path) / array.header.type.size
      try MemoryLimit.require(32 * count, for: source.path)
      guard array.header.shape.count == 1 else {
        throw source.malformed(
          "array '\(name)' of the sparse NPZ", "of shape \(array.header.shape)", "one axis")
      }
      var result = [Double](repeating: 0, count: count)
      array.header.forEachValue(try array.bytes(0..<(count * array.header.type.size))) { result[$0] = $1 }
      return result
    }
    func integers(_ name: String) throws(FileError) -> [Int] {
      var result = [Int]()
      for value in try values(name) {
        guard let integer = Int(exactly: value), integer >= 0 else {
          throw source.malformed(
            "array '\(name)' of the sparse NPZ", "holding \(value)", "numbers of 0 and more")
        }
        result.append(integer)
      }
      return result
    }
    func indices(_ name: String) throws(FileError) -> [Int32] {
      let found = try integers(name)
      guard found.allSatisfy({ $0 <= Int(Int32.max) }) else {
        throw source.malformed(
          "array '\(name)' of the sparse NPZ", "holding \(found.max() ?? 0)", "indices below 2^31")
      }
      return found.map { Int32($0) }
    }
    // Bytes or text of three letters.
    let format = try NPZFile.text("format.npy", of: archive)
    guard ["csr", "csc", "coo"].contains(format) else {
      throw source.malformed(
        "sparse NPZ", "of format '\(format)'", "csr, csc or coo: scipy.sparse.save_npz('a.npz', a.tocsr())")
    }
    let shape = try integers("shape")
    let data = try values("data")
    guard shape.count == 2 else { throw source.malformed("sparse NPZ", "of shape \(shape)", "a matrix") }
    try requireSize(shape[0], shape[1], entries: data.count, path: source.path)
    if format == "coo" {
      let (rows, columns) = (try indices("row"), try indices("col"))
      return try checked(source.path) { () throws(SparseMatrix.Fault) in
        try SparseMatrix(
          rows: shape[0], columns: shape[1], rowIndices: rows, columnIndices: columns, values: data)
      }
    }
    let (starts, inner) = (try integers("indptr"), try indices("indices"))
    let isRows = format == "csr"
    return try checked(source.path) { () throws(SparseMatrix.Fault) in
      let matrix = try SparseMatrix(
        rows: isRows ? shape[0] : shape[1], columns: isRows ? shape[1] : shape[0], rowStarts: starts,
        columnIndices: inner, values: data)
      return isRows ? matrix : matrix.transposed
    }
  }

  /// Rows and columns cost memory, too, though a file needs a few digits to ask for billions.
  static func requireSize(_ rows: Int, _ columns: Int, entries: Int, path: String) throws(FileError) {
    guard rows <= 1 << 20 + 16 * entries, columns <= 1 << 20 + 16 * entries else {
      throw .malformed(
        path: path, what: "sparse matrix", found: "\(rows)x\(columns) with \(entries) entries",
        expected: "at most \(1 << 20 + 16 * entries) rows and columns for so few")
    }
  }

  /// A fault as an error of the file.
  static func checked(
    _ path: String, _ make: () throws(SparseMatrix.Fault) -> SparseMatrix
  ) throws(FileError) -> SparseMatrix {
    let matrix: SparseMatrix
    do throws(SparseMatrix.Fault) {
      matrix = try make()
    } catch {
      throw .malformed(
        path: path, what: "sparse matrix", found: "wrong: \(error)", expected: "a sparse matrix")
    }
    if let bad = matrix.values.first(where: { !$0.isFinite }) {
      throw .malformed(
        path: path, what: "sparse matrix", found: "one with \(bad)", expected: "finite numbers")
    }
    return matrix
  }
}
