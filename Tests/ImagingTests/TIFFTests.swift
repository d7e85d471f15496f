import AIPOKernels
import AIPOTestFiles
import Testing

@testable import AIPOImaging

/// TIFF and WebP that tifffile and Pillow wrote (Tests/Parity/make_formats.py).
struct TIFFTests {
  private let folder = TemporaryFolder()

  private func open(_ name: String) throws -> ImageSet { try ImageSet(path: Formats.path(name)) }

  private func refusal(_ body: () throws -> Void) -> String {
    let error = #expect(throws: FileError.self) { try body() }
    guard case .malformed = error else { return "\(String(describing: error))" }
    return error?.description ?? ""
  }

  /// The ramp of pixel-interleaved bytes.
  @Test(arguments: [
    ("grey8.tif", 20, 24, 1), ("rgb8-lzw-predictor.tif", 20, 24, 3), ("rgba-opaque.tif", 20, 24, 3),
    ("channels5.tif", 4, 6, 5), ("rgb8-planes.tif", 20, 24, 3), ("rgb8-planes-tiles.tif", 20, 24, 3),
    ("lossless.webp", 20, 24, 3), ("white-is-zero.tif", 20, 24, 1),
  ]) func bytes(name: String, height: Int, width: Int, channels: Int) throws {
    let set = try open(name)
    #expect(set.count == 1 && set.isEightBit)
    #expect(set.shape(of: 0) == ImageShape(height: height, width: width, channels: channels))
    #expect(try set.bytes([0]).map(Int.init) == ramp(height * width * channels))
    #expect(set.name(of: 0) == name)
  }

  @Test(arguments: [
    ("grey16-big-endian.tif", 20 * 24), ("rgb16-tiles-deflate.tif", 40 * 50 * 3), ("zstd.tif", 20 * 24),
  ]) func words(name: String, count: Int) throws {
    let set = try open(name)
    let read = try set.read([0], as: Double.self).elements
    #expect(read == ramp(count, mul: 3001, mod: 65536).map { (Double($0) + 0.5) / 65536 })
    #expect(!set.isEightBit)
    // The full scale of 16 bits, as it is for PNG.
    let range = ImageTransform(range: ValueRange(low: 0, high: 65535))
    #expect(try set.read([0], as: Double.self, transform: range).elements == read)
  }

  private let stack = ramp(3 * 8 * 10, mul: 37, mod: 251).map { Double($0) / 8 - 1 }

  @Test(arguments: ["float32-stack.tif", "float32-stack-big.tif"]) func stacks(name: String) throws {
    let set = try open(name)
    #expect(set.count == 3 && set.commonShape == ImageShape(height: 8, width: 10, channels: 1))
    #expect(try set.read(0..<3, as: Double.self).elements == stack)
    #expect(try set.read([2], as: Double.self).elements == Array(stack[160...]))
    #expect(set.name(of: 2) == "\(name)#2")
    let array: Tensor<Double> = try NPYFile.read(Formats.path(name))
    #expect(array.shape == [3, 8, 10] && array.elements == stack)
  }

  @Test(arguments: ["float64.tif", "float16.tif"]) func floats(name: String) throws {
    #expect(try open(name).read([0], as: Double.self).elements == Array(stack[..<80]))
    let array: Tensor<Double> = try NPYFile.read(Formats.path(name))
    #expect(array.shape == [8, 10] && array.elements == Array(stack[..<80]))
  }

  /// Other integers need somebody to say what is white.
  @Test(arguments: [("uint32.tif", "uint32"), ("int16.tif", "int16")]) func integers(
    name: String, type: String
  ) throws {
    let set = try open(name)
    let says = refusal { _ = try set.read([0], as: Double.self) }
    #expect(says.contains(type) && says.contains("--range"), "\(says)")
    let range = ImageTransform(range: ValueRange(low: 0, high: 100))
    let values = name == "uint32.tif" ? ramp(20, mul: 300_000_007, mod: 1 << 32) : ramp(20).map { $0 - 100 }
    #expect(
      try set.read([0], as: Double.self, transform: range).elements == values.map { Double($0) / 100 })
    // An array has its values.
    let array: Tensor<Double> = try NPYFile.read(Formats.path(name))
    #expect(array.shape == [4, 5] && array.elements == values.map { Double($0) })
  }

  @Test func fewBitsAndPackBits() throws {
    #expect(try open("bilevel.tif").bytes([0]).map(Int.init) == ramp(99).map { $0 > 127 ? 255 : 0 })
    #expect(try open("packbits.tif").bytes([0]).map(Int.init) == ramp(480).map { $0 / 64 })
  }

  @Test func palettesAndJPEG() throws {
    let palette = try open("palette.tif")
    let picture = try palette.bytes([0]).map(Int.init)
    // 32 colours are near enough to the ramp, whose pixels differ by 111 a channel.
    let distance = zip(picture, ramp(480 * 3)).map { abs($0 - $1) }.reduce(0, +) / 1440
    #expect(palette.commonShape?.channels == 3 && distance < 24, "\(distance)")
    let jpeg = try open("jpeg.tif")
    #expect(jpeg.commonShape == ImageShape(height: 32, width: 48, channels: 3))
    let bytes = try jpeg.bytes([0])
    for y in 0..<32 {
      for x in 0..<48 {
        let grey = Double(4 * y + 2 * x)
        for c in 0..<3 { #expect(abs(Double(bytes[(y * 48 + x) * 3 + c]) - grey) < 12) }
      }
    }
    let lossy = try open("lossy.webp").bytes([0])
    for y in 0..<16 {
      for x in 0..<24 { #expect(abs(Int(lossy[(y * 24 + x) * 3 + 1]) - 8 * y - 3 * x) < 12) }
    }
  }

  @Test(arguments: 2...8) func orientations(number: Int) throws {
    let orientation = try #require(Orientation(rawValue: number))
    let stored = ImageShape(height: 3, width: 5, channels: 1)
    let set = try open("orientation\(number).tif")
    #expect(set.shape(of: 0) == orientation.shape(of: stored))
    #expect(try set.bytes([0]).map(Int.init) == orientation.apply(ramp(15), stored: stored))
  }

  @Test func pagesThatArentImages() throws {
    let set = try open("thumbnail.tif")
    #expect(set.count == 2)
    #expect(try set.bytes([0, 1]).map(Int.init) == ramp(64) + ramp(64).map { 255 - $0 })
    let differ = try open("pages-differ.tif")
    #expect(differ.count == 2 && differ.commonShape == nil)
    #expect(refusal { _ = try differ.read([0, 1], as: Float.self) }.contains("image pages-differ.tif#1"))
    #expect(try differ.bytes([1]).map(Int.init) == ramp(30))
    #expect(
      refusal { _ = try NPYFile.read(Formats.path("pages-differ.tif"), as: Float.self) }.contains("6x5"))
  }

  @Test func resolution() throws {
    let inches = try #require(try open("float32-stack.tif").geometry(of: 1))
    #expect(abs(inches.columnStep - 25.4 / 5080) < 1e-9 && abs(inches.rowStep - 25.4 / 2540) < 1e-9)
    let micrometres = try #require(try open("imagej.tif").geometry(of: 0))
    #expect(abs(micrometres.columnStep - 0.25e-3) < 1e-9 && micrometres.sliceStep == 2.5e-3)
    #expect(try open("imagej.tif").count == 3)
    #expect(try open("grey8.tif").geometry(of: 0) == nil)
  }

  @Test(arguments: [
    ("rgba.tif", "alpha at row 7, column 3"), ("complex.tif", "complex numbers"), ("cmyk.tif", "CMYK"),
    ("imagej-truncated.tif", "a stack of 3 images"), ("alpha.webp", "alpha at row 2, column 3"),
    ("animation.webp", "an animation"),
  ]) func refused(name: String, word: String) {
    let says = refusal { _ = try open(name).bytes([0]) }
    #expect(says.contains(word), "\(says)")
  }

  /// Whatever is cut off is missed, but what comes after the last byte that counts.
  @Test(arguments: [
    "grey8.tif", "rgb8-lzw-predictor.tif", "rgb16-tiles-deflate.tif", "zstd.tif", "jpeg.tif",
    "float32-stack-big.tif", "lossless.webp", "lossy.webp",
  ]) func truncated(name: String) throws {
    let whole = Formats.bytes(name)
    for length in [3, 8, 9, 20, 41, whole.count / 3, whole.count / 2, whole.count * 3 / 4] {
      let path = folder.write(Array(whole.prefix(length)), "cut")
      let error = #expect(throws: FileError.self, "\(length)") {
        let set = try ImageSet(path: path)
        _ = try set.read(0..<set.count, as: Float.self, transform: .identity)
      }
      #expect(error?.description.contains { $0.isNewline } == false)
    }
  }

  // MARK: Writing

  @Test func whatIsWrittenIsRead() throws {
    let values = try Tensor<Float>(shape: [3, 4, 5, 3], elements: ramp(180).map { Float($0) / 200 - 0.1 })
    let path = folder.file("a.tif")
    try ImageOutput.write(values, to: path)
    let set = try ImageSet(path: path)
    #expect(set.count == 3 && set.commonShape == ImageShape(height: 4, width: 5, channels: 3))
    #expect(try set.read(0..<3, as: Float.self) == values)
    let doubles = try Tensor<Double>(shape: [1, 4, 5, 1], elements: ramp(20).map { Double($0) / 7 })
    try ImageOutput.write(doubles, to: folder.file("b.tiff"))
    #expect(try ImageSet(path: folder.file("b.tiff")).read([0], as: Double.self) == doubles)
  }

  @Test func valuesThatArentFinite() throws {
    let values = try Tensor<Float>(shape: [2, 1, 2, 1], elements: [0, 1, 0.5, .nan])
    try ImageOutput.write(values, to: folder.file("a.tif"))
    let set = try ImageSet(path: folder.file("a.tif"))
    #expect(try set.read([0], as: Float.self).elements == [0, 1])
    let says = refusal { _ = try set.read([0, 1], as: Float.self) }
    #expect(says.contains("row 0, column 1 of image a.tif#1"), "\(says)")
    #expect(try set.read([1], as: Float.self, nonFinite: .allowed).elements[1].isNaN)
    #expect(refusal { _ = try NPYFile.read(folder.file("a.tif"), as: Float.self) }.contains("nan"))
  }

  @Test func integersAreClippedAndRounded() throws {
    let values = try Tensor<Double>(shape: [1, 1, 5, 1], elements: [-1, 0, 0.5, 0.999, 2])
    try ImageOutput.write(values, to: folder.file("a.tif"), depth: .uint8)
    #expect(try ImageSet(path: folder.file("a.tif")).bytes([0]) == [0, 0, 128, 255, 255])
    try ImageOutput.write(values, to: folder.file("b.tif"), depth: .uint16)
    let array: Tensor<Double> = try NPYFile.read(folder.file("b.tif"))
    #expect(array.elements == [0, 0, 32768, 65470, 65535])
  }

  @Test func resolutionGoesThrough() throws {
    let image = try Tensor<Float>(shape: [1, 2, 2, 1], elements: [0, 1, 2, 3])
    let geometry = ImageGeometry(columnStep: 0.325e-3, rowStep: 2)
    try ImageOutput.write(image, to: folder.file("a.tif"), geometry: geometry)
    let read = try #require(try ImageSet(path: folder.file("a.tif")).geometry(of: 0))
    #expect(abs(read.columnStep / geometry.columnStep - 1) < 1e-6 && abs(read.rowStep - 2) < 1e-6)
  }
}
