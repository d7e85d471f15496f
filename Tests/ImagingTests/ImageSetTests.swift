import AIPOKernels
import AIPOTestFiles
import Testing

@testable import AIPOImaging

struct ImageSetTests {
  private func open(_ fixture: String) throws -> (ImageSet, TemporaryFolder) {
    let folder = TemporaryFolder()
    return (try ImageSet(path: folder.write(Fixtures.bytes(fixture), "file.any")), folder)
  }

  private func eight(_ values: [Int]) -> [Double] { values.map { (Double($0) + 0.5) / 256 } }

  @Test(arguments: [
    ("grey8", 1, 20), ("greyAlphaOpaque", 1, 20), ("rgb8", 3, 60), ("rgbaOpaque", 3, 60), ("palette", 3, 60),
  ])
  func png(fixture: String, channels: Int, count: Int) throws {
    let (set, folder) = try open(fixture)
    #expect(set.count == 1 && set.isEightBit && set.name(of: 0) == "file.any")
    #expect(set.commonShape == ImageShape(height: 4, width: 5, channels: channels))
    #expect(try set.bytes([0]).map(Int.init) == ramp(count))
    let tensor: Tensor<Double> = try set.read([0, 0])
    #expect(tensor.shape == [2, 4, 5, channels])
    #expect(tensor.elements == eight(ramp(count)) + eight(ramp(count)))
    _ = folder
  }

  @Test func pngOfOtherDepths() throws {
    let (set, folder) = try open("grey16")
    #expect(!set.isEightBit)
    let words = ramp(20, mul: 3001, mod: 65536)
    #expect(try set.read([0], as: Double.self).elements == words.map { (Double($0) + 0.5) / 65536 })
    #expect(try set.bytes([0]).map(Int.init) == words.map { $0 / 256 })
    let (bilevel, other) = try open("bilevel")
    #expect(try bilevel.bytes([0]).map(Int.init) == ramp(20).map { $0 > 127 ? 255 : 0 })
    _ = (folder, other)
  }

  /// Pillow's decoding of the same files gave these sums and pixels.
  @Test(arguments: ["jpegGrey", "jpegColour", "jpegProgressive"])
  func jpeg(fixture: String) throws {
    let (set, folder) = try open(fixture)
    let grey = fixture == "jpegGrey"
    #expect(set.commonShape == ImageShape(height: 16, width: 24, channels: grey ? 1 : 3))
    let pixels = try set.bytes([0]).map(Int.init)
    let sum = pixels.reduce(0, +)
    #expect(abs(sum - (grey ? 49965 : 143180)) < 300)
    let last = Array(pixels.suffix(grey ? 1 : 3))
    #expect(zip(last, grey ? [18] : [233, 221, 49]).allSatisfy { abs($0 - $1) <= 2 })
    _ = folder
  }

  @Test(arguments: ["f4", "f8Big", "f8V3", "fortran3"])
  func npyFloats(fixture: String) throws {
    let (set, folder) = try open(fixture)
    #expect(set.count == 2 && !set.isEightBit && set.name(of: 1) == "file.any#1")
    #expect(set.shape(of: 0) == ImageShape(height: 3, width: 4, channels: 1))
    let values = (0..<24).map { Double($0) / 8 - 1 }
    #expect(try set.read([1, 0], as: Double.self).elements == Array(values[12...] + values[..<12]))
    #expect(try set.read(0..<2, as: Float.self).elements == values.map(Float.init))
    _ = folder
  }

  @Test func npyInFortranOrderAndVersion2() throws {
    let values = (0..<24).map { Double($0) / 8 - 1 }
    let (set, folder) = try open("fortran4")
    #expect(set.commonShape == ImageShape(height: 2, width: 4, channels: 3))
    #expect(try set.read([0], as: Double.self).elements == values)
    let (big, other) = try open("f4BigV2")
    #expect(big.count == 2 && big.commonShape == ImageShape(height: 3, width: 4, channels: 1))
    #expect(try big.read([0, 1], as: Double.self).elements == values)
    _ = (folder, other)
  }

  @Test(arguments: ["u1", "npyGzip", "idxGzip"])
  func eightBitArrays(fixture: String) throws {
    let (set, folder) = try open(fixture)
    #expect(set.count == 2 && set.isEightBit)
    #expect(try set.bytes([1, 0]).map(Int.init) == Array(ramp(24)[12...] + ramp(24)[..<12]))
    #expect(try set.read([1], as: Double.self).elements == eight(Array(ramp(24)[12...])))
    _ = folder
  }

  @Test func plainIDXOfFloatsAndOneImage() throws {
    let folder = TemporaryFolder()
    let values: [Float] = [0, 0.25, -1, 3.5, 1e-3, 0.75]
    let elements = values.flatMap { v in
      (0..<4).map { UInt8(truncatingIfNeeded: v.bitPattern >> (24 - 8 * $0)) }
    }
    let path = folder.write([0, 0, 0x0D, 2, 0, 0, 0, 2, 0, 0, 0, 3] + elements, "one.idx")
    let set = try ImageSet(path: path)
    #expect(set.count == 1 && set.name(of: 0) == "one.idx")
    #expect(try set.read([0], as: Float.self).elements == values)
  }

  @Test func gzipOfSeveralMembers() throws {
    let folder = TemporaryFolder()
    // Python: gzip.compress(b'\0\0\x08\x02\0\0\0\1\0\0\0\3') + gzip.compress(b'abc')
    let whole = Fixtures.bytes("memberOne") + Fixtures.bytes("memberTwo")
    let set = try ImageSet(path: folder.write(whole, "a.gz"))
    #expect(try set.bytes([0]) == Array("abc".utf8))
  }

  @Test func folders() throws {
    let folder = TemporaryFolder()
    folder.write(Fixtures.bytes("grey8"), "b.png")
    folder.write(Fixtures.bytes("jpegGrey"), "a10.dat")
    folder.write(Fixtures.bytes("grey8"), "a9.png")
    folder.write(Fixtures.bytes("grey8"), ".hidden.png")
    folder.write(Array("notes".utf8), "README.txt")
    let set = try ImageSet(path: folder.path + "/")
    #expect((0..<set.count).map(set.name) == ["a10.dat", "a9.png", "b.png"])
    #expect(set.commonShape == nil)
    #expect(set.shape(of: 0) == ImageShape(height: 16, width: 24, channels: 1))
    #expect(try set.bytes([2, 1]).map(Int.init) == ramp(20) + ramp(20))
    let mixed = try set.bytes(0..<3, transform: ImageTransform(crop: PixelSize(height: 4, width: 5)))
    #expect(mixed.count == 60 && mixed[20...].map(Int.init) == ramp(20) + ramp(20))
    #expect(throws: FileError.self) { try set.bytes(0..<3) }
  }

  @Test func nonFiniteByPolicy() throws {
    let (set, folder) = try open("nan")
    let error = #expect(throws: FileError.self) { try set.read([0], as: Float.self) }
    #expect(error?.description.contains("row 0, column 1") == true)
    let values = try set.read([0], as: Float.self, nonFinite: .allowed).elements
    #expect(values[0] == 0.5 && values[1].isNaN && values[2] == .infinity && values[3] == 0.25)
    _ = folder
  }

  @Test func pixelValues() {
    for byte in UInt8.min...UInt8.max { #expect(PixelValue.byte(PixelValue.scalar(byte)) == byte) }
    #expect(
      [-1, 0, 1 / 256, 0.999, 1, 7, .infinity, .nan].map(PixelValue.byte) == [0, 0, 1, 255, 255, 255, 255, 0])
  }
}

struct ImageTransformTests {
  private let shape = ImageShape(height: 4, width: 6, channels: 1)
  private let values = (0..<24).map { Double($0 * $0 % 17) }

  @Test func shrinkingByAWholeFactorAverages() {
    let half = ImageTransform(resize: PixelSize(height: 2, width: 3)).apply(values, shape)
    for y in 0..<2 {
      for x in 0..<3 {
        let block = [0, 1, 6, 7].map { values[2 * y * 6 + 2 * x + $0] }
        #expect(abs(half[y * 3 + x] - block.reduce(0, +) / 4) < 1e-12)
      }
    }
  }

  @Test func shrinkingKeepsTheMeanAndConstants() {
    for (height, width) in [(3, 5), (1, 1), (4, 5), (3, 6)] {
      let small = ImageTransform(resize: PixelSize(height: height, width: width)).apply(values, shape)
      #expect(small.count == height * width)
      let mean = values.reduce(0, +) / 24
      #expect(abs(small.reduce(0, +) / Double(small.count) - mean) < 1e-12)
    }
  }

  /// Linear interpolation reproduces a plane away from the border, where it repeats the edge.
  @Test func enlarging() {
    let plane = (0..<24).map { Double($0 / 6) + 10 * Double($0 % 6) }
    let large = ImageTransform(resize: PixelSize(height: 8, width: 12)).apply(plane, shape)
    for y in 1..<7 {
      for x in 1..<11 {
        let expected = (Double(y) + 0.5) / 2 - 0.5 + 10 * ((Double(x) + 0.5) / 2 - 0.5)
        #expect(abs(large[y * 12 + x] - expected) < 1e-12)
      }
    }
    #expect(large[0] == 0 && large[95] == 53)
  }

  @Test func cropsTheCentreBeforeResizing() {
    let crop = ImageTransform(crop: PixelSize(height: 2, width: 4))
    #expect(crop.apply(values, shape) == Array(values[7..<11] + values[13..<17]))
    let both = ImageTransform(crop: PixelSize(height: 2, width: 2), resize: PixelSize(height: 1, width: 1))
    #expect(abs(both.apply(values, shape)[0] - [8, 9, 14, 15].map { values[$0] }.reduce(0, +) / 4) < 1e-12)
    #expect(both.shape(of: shape) == ImageShape(height: 1, width: 1, channels: 1))
    #expect(ImageTransform(crop: PixelSize(height: 5, width: 2)).shape(of: shape) == nil)
  }

  @Test func channelsStayApartAndGreyWeighs() {
    let colour = ImageShape(height: 2, width: 2, channels: 3)
    let pixels = (0..<12).map { Double($0 % 3) }
    let one = ImageTransform(resize: PixelSize(height: 1, width: 1)).apply(pixels, colour)
    #expect(one == [0, 1, 2])
    let grey = ImageTransform(channels: .grey).apply([1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 1, 1], colour)
    #expect(zip(grey, [0.299, 0.587, 0.114, 1]).allSatisfy { abs($0 - $1) < 1e-12 })
  }

  @Test func sizesAsText() {
    #expect(PixelSize("64x48") == PixelSize(height: 64, width: 48))
    for text in ["", "64", "64x", "x48", "0x4", "-1x4", "4x4x1", "4 x 4", "99999999x1", "ax4"] {
      #expect(PixelSize(text) == nil)
    }
  }
}
