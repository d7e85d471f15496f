import AIPOKernels
import AIPOPlatform

/// The values of a set's pictures in files of a folder, one a rank, read where they are needed.
///
/// Rank r of R writes pictures r, r + R, r + 2R, …, one behind the other, and all ranks read all files. Ranks on one machine take
/// the files' names away before they write to them, so that the files end with the processes, however these end. On several
/// machines a file without a name is lost to the others: the first rank removes them with this object, and
/// `AtomicFile.removeLeftovers` what a killed run left.
package final class PictureFiles: Sendable {
  /// Where the values of a set go, and who writes them.
  package struct Place: Sendable {
    /// A folder that all ranks see.
    let folder: String
    /// Of the set, to tell it from others in the folder.
    let name: String
    let ranks: any Ranks

    package init(folder: String, name: String, ranks: any Ranks) {
      self.folder = folder
      self.name = name
      self.ranks = ranks
    }

    func file(of rank: Int) -> String { "\(folder)/\(AtomicFile.prefix)\(name)-\(rank)" }
  }

  private let files: [InputFile]
  /// What this process removes at the end.
  private let named: [String]

  /// How many there are.
  package var count: Int { files.count }
  var names: [String] { files.map { String($0.path[$0.path.lastIndex(of: "/")!...].dropFirst()) } }

  /// Writes this rank's pictures of `0..<pictures`, whose values `values` gives, and returns when all ranks have done so.
  ///
  /// Throws `FileError` where a file can't be written or opened, `RankError`, and what `values` throws.
  init<Value: BitwiseCopyable>(
    _ place: Place, pictures: Int, values: (_ picture: Int) throws -> [Value]
  ) throws {
    let ranks = place.ranks
    let paths = (0..<ranks.count).map(place.file)
    func openAll() throws -> [InputFile] {
      try ranks.wait()
      return try paths.map { path throws(FileError) in try InputFile(path: path) }
    }
    let own = try Output(paths[ranks.rank])
    var files: [InputFile] = []
    let isOneMachine = ranks.neighbours == ranks.count
    if isOneMachine {
      files = try openAll()
      try ranks.wait()
      own.removeName()
      // Where one fails as it writes, the others may be killed.
      try ranks.wait()
    }
    for picture in stride(from: ranks.rank, to: pictures, by: ranks.count) {
      try own.write(try values(picture))
    }
    try own.finish()
    // Another machine sees what was written once it opens the file.
    if isOneMachine { try ranks.wait() } else { files = try openAll() }
    self.files = files
    named = !isOneMachine && ranks.isFirst ? paths : []
  }

  deinit { for path in named { unlink(path) } }

  /// Values of a picture: `count` in each of so many rows, the first of which begin at `offset` and which begin `stride` apart.
  ///
  /// Throws `malformed` where the file has become shorter, `missing` where it can't be read.
  func values<Value: BitwiseCopyable>(
    of picture: Int, at offset: Int, count: Int, rows: Int = 1, stride: Int = 0
  ) throws(FileError) -> [Value] {
    let file = files[picture % files.count]
    var failure: FileError?
    let result = [Value](unsafeUninitializedCapacity: rows * count) { buffer, initialized in
      do throws(FileError) {
        for row in 0..<rows {
          let place = UnsafeMutableRawBufferPointer(
            UnsafeMutableBufferPointer(rebasing: buffer[row * count..<(row + 1) * count]))
          let start = (offset + row * stride) * MemoryLayout<Value>.size
          guard try file.read(at: start, into: place) == place.count else {
            throw .malformed(
              path: file.path, what: "file of decoded pictures", found: "shorter than when it was written",
              expected: "an unchanged file")
          }
        }
        initialized = rows * count
      } catch { failure = error }
    }
    if let failure { throw failure }
    return result
  }

  /// The file of this rank while it is written; gone with the object unless it was finished.
  private final class Output {
    private let path: String
    private var descriptor: Int32
    private var isFinished = false

    init(_ path: String) throws(FileError) {
      self.path = path
      descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode_t(0o666))
      guard descriptor >= 0 else { throw failure(errno) }
    }

    deinit {
      if descriptor >= 0 { close(descriptor) }
      if !isFinished { removeName() }
    }

    func removeName() { unlink(path) }

    func write<Value: BitwiseCopyable>(_ values: [Value]) throws(FileError) {
      let code: Int32 = values.withUnsafeBytes { bytes in
        var done = 0
        while done < bytes.count {
          let piece = min(bytes.count - done, 1 << 30)
          #if canImport(Glibc)
            let count = Glibc.write(descriptor, bytes.baseAddress! + done, piece)
          #else
            let count = Darwin.write(descriptor, bytes.baseAddress! + done, piece)
          #endif
          if count < 0, errno == EINTR { continue }
          guard count > 0 else { return count < 0 ? errno : ENOSPC }
          done += count
        }
        return 0
      }
      guard code == 0 else { throw failure(code) }
    }

    /// Some file systems find out only now that the disk is full.
    func finish() throws(FileError) {
      let code = close(descriptor) == 0 || errno == EINTR ? 0 : errno
      descriptor = -1
      guard code == 0 else { throw failure(code) }
      isFinished = true
    }

    private func failure(_ code: Int32) -> FileError {
      .unwritable(path: path, reason: FileError.reason(code))
    }
  }
}
