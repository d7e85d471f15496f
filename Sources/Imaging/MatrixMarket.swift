import AIPOKernels

/// Matrix Market: text of a banner, comments, sizes and entries, packed by gzip or not.
///
/// Source: R. Boisvert, R. Pozo, K. Remington, *The Matrix Market Exchange Formats: Initial Design*, NISTIR 5935.
enum MatrixMarket {
  static let banner = Array("%%MatrixMarket".utf8)
  /// A text that is packed may be long.
  private static let mostEntries = 1 << 28

  /// The matrix of the text that a stream goes on with.
  static func read(_ stream: ByteStream) throws(FileError) -> SparseMatrix {
    var lines = LineReader(stream)
    func refuse(_ what: String, _ found: String, _ expected: String) -> FileError {
      .malformed(path: stream.path, what: "Matrix Market \(what)", found: found, expected: expected)
    }
    let words = (try lines.next() ?? "").lowercased().split(separator: " ").map(String.init)
    guard words.count >= 5, words[1] == "matrix", words[2] == "coordinate" || words[2] == "array" else {
      throw refuse(
        "banner", words.joined(separator: " "), "%%MatrixMarket matrix coordinate|array FIELD SYMMETRY")
    }
    let isArray = words[2] == "array"
    let isPattern = words[3] == "pattern"
    guard ["real", "integer", "double"].contains(words[3]) || isPattern && !isArray else {
      throw refuse("field", words[3], "real, integer or pattern")
    }
    guard ["general", "symmetric", "skew-symmetric"].contains(words[4]) else {
      throw refuse("symmetry", words[4], "general, symmetric or skew-symmetric")
    }
    let isSymmetric = words[4] != "general"
    let isSkew = words[4] == "skew-symmetric"

    var numbers = [Substring]()
    while numbers.isEmpty {
      guard let line = try lines.next() else { throw refuse("sizes", "missing", "a line of sizes") }
      if !line.hasPrefix("%") { numbers = line.split { $0 == " " || $0 == "\t" || $0 == "\r" } }
    }
    let sizes = numbers.compactMap { Int($0) }
    guard sizes.count == (isArray ? 2 : 3), numbers.count == sizes.count, sizes.allSatisfy({ $0 >= 0 }),
      sizes[0] > 0, sizes[1] > 0, sizes[0] <= Int(Int32.max), sizes[1] <= Int(Int32.max),
      !isSymmetric || sizes[0] == sizes[1]
    else {
      throw refuse("sizes", numbers.joined(separator: " "), isArray ? "rows columns" : "rows columns entries")
    }
    let (rows, columns) = (sizes[0], sizes[1])
    let cells = rows * columns
    let count = isArray ? (isSymmetric ? (isSkew ? cells - rows : cells + rows) / 2 : cells) : sizes[2]
    var (rowIndices, columnIndices, values) = ([Int32](), [Int32](), [Double]())
    // Of an array: the place, down the columns, and of a symmetric one from the diagonal on.
    var (row, column) = (isSkew ? 1 : 0, 0)
    var found = 0
    while let line = try lines.next() {
      let fields = line.split { $0 == " " || $0 == "\t" || $0 == "\r" }
      if fields.isEmpty || line.hasPrefix("%") { continue }
      found += 1
      guard found <= count, fields.count == (isArray ? 1 : isPattern ? 2 : 3) else {
        throw refuse(
          found <= count ? "entry \(found)" : "entries", found <= count ? line : "more than \(count)",
          found <= count ? "row column value" : "\(count)")
      }
      if !isArray {
        guard let i = Int(fields[0]), let j = Int(fields[1]), (1...rows).contains(i),
          (1...columns).contains(j)
        else {
          throw refuse("entry \(found)", line, "row 1 to \(rows), column 1 to \(columns)")
        }
        (row, column) = (i - 1, j - 1)
      }
      guard let value = isPattern ? 1 : Double(fields[fields.count - 1]), value.isFinite else {
        throw refuse("entry \(found)", line, "a finite number")
      }
      func add(_ i: Int, _ j: Int, _ value: Double) {
        rowIndices.append(Int32(i))
        columnIndices.append(Int32(j))
        values.append(value)
      }
      if !isArray || value != 0 { add(row, column, value) }
      if isSymmetric, row != column { add(column, row, isSkew ? -value : value) }
      if found % (1 << 16) == 0 {
        guard values.count <= mostEntries else {
          throw refuse("matrix", "of more than \(mostEntries) entries", "fewer")
        }
        try MemoryLimit.require(64 * values.count, for: stream.path)
      }
      if isArray {
        row += 1
        if row == rows {
          column += 1
          row = isSymmetric ? column + (isSkew ? 1 : 0) : 0
        }
      }
    }
    guard found == count else { throw refuse("entries", "\(found)", "\(count) (truncated?)") }
    try SparseFile.requireSize(rows, columns, entries: values.count, path: stream.path)
    return try SparseFile.checked(stream.path) { () throws(SparseMatrix.Fault) in
      try SparseMatrix(
        rows: rows, columns: columns, rowIndices: rowIndices, columnIndices: columnIndices, values: values)
    }
  }
}

/// Lines of a text, of at most 4 KiB each.
private struct LineReader {
  private let stream: ByteStream
  private var bytes = [UInt8]()
  private var place = 0
  private var isAtEnd = false

  init(_ stream: ByteStream) { self.stream = stream }

  /// Nil at the end.
  mutating func next() throws(FileError) -> String? {
    while true {
      if let end = bytes[place...].firstIndex(of: 0x0A) {
        defer { place = end + 1 }
        return String(decoding: bytes[place..<end], as: UTF8.self)
      }
      if isAtEnd {
        guard place < bytes.count else { return nil }
        defer { place = bytes.count }
        return String(decoding: bytes[place...], as: UTF8.self)
      }
      guard bytes.count - place <= 1 << 12 else {
        throw .malformed(
          path: stream.path, what: "Matrix Market line", found: "of more than 4096 bytes",
          expected: "a shorter one")
      }
      bytes.removeFirst(place)
      place = 0
      let more = try stream.read(1 << 16)
      isAtEnd = more.isEmpty
      bytes += more
    }
  }
}
