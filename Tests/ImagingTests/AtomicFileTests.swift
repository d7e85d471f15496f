import AIPOKernels
import Testing

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

struct AtomicFileTests {
  @Test func replacesWholeAndKeepsTheMode() throws {
    let folder = TemporaryFolder()
    let path = folder.write("old", "a.txt")
    chmod(path, 0o640)
    try AtomicFile.write("new and longer", to: path)
    #expect(try bytes(of: path) == Array("new and longer".utf8))
    var status = stat()
    #expect(stat(path, &status) == 0 && status.st_mode & 0o777 == 0o640)
    #expect(folder.names == ["a.txt"])
  }

  @Test func nothingAppearsWithoutCommit() throws {
    let folder = TemporaryFolder()
    let path = folder.write("old", "a.txt")
    do {
      let file = try AtomicFile(path: path)
      try file.write("half")
      #expect(folder.names.count == 2)
    }
    #expect(folder.names == ["a.txt"])
    #expect(try bytes(of: path) == Array("old".utf8))
  }

  @Test func overwritesWhatWasWritten() throws {
    let folder = TemporaryFolder()
    let file = try AtomicFile(path: folder.file("a"))
    try file.write("count=? end")
    try file.overwrite(at: 6, with: Array("7".utf8))
    try file.write(".")
    #expect(file.byteCount == 12)
    try file.commit()
    #expect(try bytes(of: folder.file("a")) == Array("count=7 end.".utf8))
  }

  @Test func followsALink() throws {
    let folder = TemporaryFolder()
    let path = folder.write("old", "real")
    symlink(path, folder.file("link"))
    try AtomicFile.write("new", to: folder.file("link"))
    #expect(try bytes(of: path) == Array("new".utf8))
    var status = stat()
    #expect(lstat(folder.file("link"), &status) == 0 && status.st_mode & S_IFMT == S_IFLNK)
  }

  @Test func namesAsLongAsTheSystemAllows() throws {
    let folder = TemporaryFolder()
    let name = String(repeating: "n", count: 255)
    try AtomicFile.write("x", to: folder.file(name))
    #expect(folder.names == [name])
  }

  @Test func refusesWhatIsNoRegularFile() throws {
    let folder = TemporaryFolder()
    mkfifo(folder.file("pipe"), 0o600)
    symlink(folder.file("nowhere"), folder.file("dangling"))
    _ = folder.write("x", "plain")
    let cases = [
      "/dev/full", "/dev/null", folder.path, folder.path + "/", folder.file("pipe"), folder.file("dangling"),
      folder.file("missing/a.png"), folder.file("missing/"), folder.file("plain/a.png"), "",
      folder.file(String(repeating: "n", count: 256)),
    ]
    for path in cases {
      let error = #expect(throws: FileError.self) { try AtomicFile.checkWritable(path) }
      guard case .unwritable = error else {
        Issue.record("\(path): \(String(describing: error))")
        continue
      }
      #expect(error?.description.contains("\n") == false)
    }
    #expect(folder.names == ["dangling", "pipe", "plain"])
  }

  @Test func checkingLeavesNoTrace() throws {
    let folder = TemporaryFolder()
    try AtomicFile.checkWritable(folder.file("new"))
    _ = folder.write("old", "old")
    try AtomicFile.checkWritable(folder.file("old"))
    #expect(folder.names == ["old"])
    #expect(try bytes(of: folder.file("old")) == Array("old".utf8))
  }

  /// A file system of 64 KiB, where the machine lets us have one.
  @Test func fullDisk() throws {
    #if os(Linux)
      let folder = TemporaryFolder()
      guard mount("tmpfs", folder.path, "tmpfs", 0, "size=64k") == 0 else { return }
      defer { umount(folder.path) }
      try AtomicFile.write("keep", to: folder.file("a"))
      let error = #expect(throws: FileError.self) {
        try AtomicFile.write([UInt8](repeating: 1, count: 1 << 20), to: folder.file("a"))
      }
      #expect(error == .unwritable(path: folder.file("a"), reason: "no space left on device"))
      #expect(try bytes(of: folder.file("a")) == Array("keep".utf8))
      #expect(folder.names == ["a"])
    #endif
  }

  @Test func removesLeftovers() throws {
    let folder = TemporaryFolder()
    let file = try AtomicFile(path: folder.file("a"))
    try file.write("x")
    _ = folder.write("y", "b")
    AtomicFile.removeLeftovers(inFolder: folder.path)
    #expect(folder.names == ["b"])
  }

  @Test func errorsStayOnOneLine() {
    let error = FileError.malformed(
      path: "a\nb", what: "header", found: "x\u{1B}[31m\r\u{2028}y",
      expected: String(repeating: "z", count: 5000))
    #expect(!error.description.contains { $0.isNewline || $0 == "\u{1B}" })
    #expect(error.description.count < 2100)
  }
}

struct InputFileTests {
  @Test func readsAllAndStopsAtTheLimit() throws {
    let folder = TemporaryFolder()
    let content = (0..<100_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
    let path = folder.write(content, "a")
    #expect(try InputFile.bytes(path: path, limit: 100_000) == content)
    #expect(throws: FileError.self) { try InputFile.bytes(path: path, limit: 99_999) }
    #expect(throws: FileError.self) { try InputFile.bytes(path: "/dev/zero", limit: 1 << 20) }
    #expect(try InputFile.bytes(path: folder.write([], "empty"), limit: 0) == [])
  }

  @Test func missing() {
    let folder = TemporaryFolder()
    for path in [folder.file("none"), folder.path, ""] {
      let error = #expect(throws: FileError.self) { try InputFile(path: path) }
      guard case .missing = error else {
        Issue.record("\(path): \(String(describing: error))")
        continue
      }
    }
  }
}
