import AIPOKernels
import AIPOTestFiles
import Testing

@testable import AIPOImaging

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

struct ImageFolderTests {
  private let folder = TemporaryFolder()

  private func make(_ name: String) { mkdir(folder.file(name), 0o755) }

  private func names(_ set: ImageSet) -> [String] { (0..<set.count).map(set.name) }

  @Test func picturesOfKindsThatCannotBeRead() throws {
    let path = Cases.path("17-tiff-skipped")
    let set = try ImageSet(path: path)
    #expect(names(set) == ["i0.png", "i1.png", "i2.png", "i3.tif", "i5.webp"])
    #expect(set.advice.count == 1)
    let says = set.advice[0].text
    for word in ["1 of 6 files is left out", "1 BMP (i4.bmp)", "PNG"] {
      #expect(says.contains(word), "\(says)")
    }
    let error = #expect(throws: FileError.self) { try ImageSet(path: "\(path)/i4.bmp") }
    #expect(error?.description.contains("a BMP picture") == true)
    #expect(error?.description.contains("magick i4.bmp") == true)
    #expect(try ImageSet(path: Cases.path("18-twenty-pictures")).advice.isEmpty)
  }

  @Test func foldersInFolders() throws {
    for name in ["b", "a", "a/deep", ".hidden", "__MACOSX", "empty"] { make(name) }
    let picture = Fixtures.bytes("grey8")
    for name in ["b/2.png", "b/1.png", "a.png", "a/x.png", "a/deep/y.png", "z.png"] {
      folder.write(picture, name)
    }
    for name in [".hidden/1.png", "__MACOSX/._a.png", "a/.DS_Store"] { folder.write(picture, name) }
    // Links to where we are would never end.
    symlink(folder.path, folder.file("a/loop"))
    symlink("..", folder.file("b/up"))
    let set = try ImageSet(path: folder.path)
    // By the bytes of the paths, where '.' comes before '/'.
    #expect(names(set) == ["a.png", "a/deep/y.png", "a/x.png", "b/1.png", "b/2.png", "z.png"])
    #expect(set.advice.isEmpty)
    #expect(try set.bytes(0..<6).count == 120)
  }

  @Test func depthIsBounded() throws {
    var name = "0"
    for depth in 1...16 {
      make(name)
      name += "/\(depth)"
    }
    folder.write(Fixtures.bytes("grey8"), "0/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/p.png")
    #expect(try ImageSet(path: folder.path).count == 1)
    make(name)
    let error = #expect(throws: FileError.self) { try ImageSet(path: folder.path) }
    #expect(error?.description.contains("16 deep") == true)
  }

  @Test func whatIsLeftOutIsCounted() throws {
    folder.write(Fixtures.bytes("grey8"), "a.png")
    for k in 0..<5 { folder.write(Array("GIF89a".utf8), "t\(k).gif") }
    folder.write("notes", "notes.txt")
    folder.write(Fixtures.bytes("u1"), "u.npy")
    // A name that isn't true, as browsers save.
    folder.write(Array("\0\0\0\u{18}ftypheic".utf8), "photo.jpg")
    folder.write([], "nothing")
    let set = try ImageSet(path: folder.path)
    #expect(names(set) == ["a.png"])
    let says = set.advice[0].text
    for word in [
      "9 of 10 files", "5 GIF (t0.gif, t1.gif, t2.gif, …)", "1 other (notes.txt)",
      "1 NPY, NPZ or IDX (u.npy)",
      "1 HEIC or AVIF (photo.jpg)", "1 empty (nothing)",
    ] {
      #expect(says.contains(word), "\(says)")
    }
    #expect(!says.contains { $0.isNewline })
  }

  @Test func folderOfOtherKindsOnly() {
    folder.write(Array("BM".utf8) + [UInt8](repeating: 0, count: 40), "a.bmp")
    let error = #expect(throws: FileError.self) { try ImageSet(path: folder.path) }
    #expect(
      error?.description.contains("1 BMP (a.bmp)") == true && error?.description.contains("magick") == true)
  }

  /// A name can hold a command.
  @Test func onlyPlainNamesAreSuggested() {
    for (name, shown) in [
      ("a b.tif", "magick FILE FILE.png"), ("$(rm x).tif", "magick FILE FILE.png"),
      ("-x.tif", "magick FILE FILE.png"),
      ("a/b-1_2.tif", "magick a/b-1_2.tif a/b-1_2.png"),
    ] {
      #expect(FileKind.bmp.remedy(name)?.hasSuffix(shown) == true)
    }
  }

  @Test(arguments: [
    ("GIF89a", "x", "GIF"), ("\0\0\0\u{18}ftypheic", "x", "HEIC"), ("\0\0\0\u{c}jP  \r\n", "x", "JPEG 2000"),
    ("\0\0\0\u{c}JXL \r\n", "x", "JPEG XL"), ("MM\0*", "a.NEF", "camera's raw"),
    ("II*\0....CR", "x", "camera's raw"),
    ("FUJIFILMCCD-RAW ", "x", "camera's raw"), ("P5\n2 2\n255\n", "x", "PNM"), ("%PDF-1.7", "x", "PDF"),
    ("<svg xmlns", "x", "SVG"), ("SIMPLE  =  T", "x", "FITS"), ("MATLAB 5.0 MAT-file", "x", "MAT"),
  ])
  func kindsAreNamed(content: String, name: String, kind: String) throws {
    let path = folder.write(content, name)
    for read in [{ _ = try ImageSet(path: path) }, { _ = try NPYFile.read(path, as: Double.self) }] {
      let error = #expect(throws: FileError.self) { try read() }
      #expect(error?.description.contains(kind) == true, "\(error?.description ?? "")")
    }
  }
}
