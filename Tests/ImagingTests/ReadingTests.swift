import AIPOKernels
import AIPOTestFiles
import Testing

@testable import AIPOImaging

/// What the values and axes of a file mean.
struct ReadingTests {
  private let folder = TemporaryFolder()

  /// NPY of version 1.
  private func npy(_ descr: String, _ shape: [Int], _ data: [UInt8]) -> [UInt8] {
    NPY.header(descr: descr, shape: shape) + data
  }

  private func open(_ descr: String, _ shape: [Int], _ data: [UInt8], layout: ImageLayout? = nil) throws
    -> ImageSet
  {
    try ImageSet(path: folder.write(npy(descr, shape, data), "a.npy"), layout: layout)
  }

  private func refusal(_ body: () throws -> Void) -> String {
    let error = #expect(throws: FileError.self) { try body() }
    guard case .malformed = error else { return "" }
    return error?.description ?? ""
  }

  // MARK: Rows

  /// Rows of every kind of file are those of the whole image.
  @Test func rowsOfAnImage() throws {
    let image = try Tensor<Double>(shape: [2, 9, 4, 3], elements: (0..<216).map { Double($0) / 220 })
    try ImageOutput.write(image.converted(to: Float.self), to: folder.file("f.npy"))
    try ImageOutput.write(image, to: folder.file("d.tif"))
    try ImageOutput.write(image.rows([1]), to: folder.file("b.png"))
    _ = folder.write(npy("|u1", [2, 9, 4, 3], (0..<216).map { UInt8($0) }), "u.npy")
    _ = folder.write(npy("|u1", [2, 3, 9, 4], (0..<216).map { UInt8($0) }), "c.npy")
    for name in ["f.npy", "d.tif", "b.png", "u.npy", "c.npy"] {
      let set = try ImageSet(path: folder.file(name), layout: name == "c.npy" ? .nchw : nil)
      #expect(set.shape(of: 0) == ImageShape(height: 9, width: 4, channels: 3))
      for range in [nil, ValueRange(low: 0, high: 100)] {
        let index = set.count - 1
        let whole = try set.read([index], as: Double.self, transform: ImageTransform(range: range)).elements
        for rows in [0..<9, 0..<2, 4..<9, 3..<3] {
          let part = try set.read(index, rows: rows, range: range)
          #expect(part.shape == [rows.count, 4, 3])
          #expect(
            part.elements == Array(whole[rows.lowerBound * 12..<rows.upperBound * 12]), "\(name) \(rows)")
        }
      }
    }
    var values = [Double](repeating: 0, count: 12)
    values[7] = .nan
    try ImageOutput.write(
      try Tensor(shape: [1, 4, 3, 1], elements: values), to: folder.file("n.npy"))
    let set = try ImageSet(path: folder.file("n.npy"))
    #expect(refusal { _ = try set.read(0, rows: 1..<4, range: nil) }.contains("row 2, column 1"))
    #expect(try set.read(0, rows: 3..<4, range: nil).elements == [0, 0, 0])
  }

  // MARK: Range

  @Test func rangesAsText() {
    #expect(ValueRange("0:255") == ValueRange(low: 0, high: 255))
    #expect(ValueRange("-1:1")?.description == "-1:1")
    #expect(ValueRange("0.25:1e3")?.scaled(250.1875) == 0.25)
    #expect(ValueRange("0.123456789:7.5")?.description == "0.123456789:7.5")
    for text in ["", "1", "1:", ":1", "1:0", "1:1", "0:inf", "nan:1", "0:1:2", "a:b", "-1e308:1e308"] {
      #expect(ValueRange(text) == nil, "\(text)")
    }
  }

  /// Floats on 0:255 are what the same images in 8 bits are.
  @Test func floatsOnAnotherScale() throws {
    let floats = try ImageSet(path: Cases.path("04-train-float-0-255.npy"))
    let eight = try ImageSet(path: Cases.path("04-train-uint8.npy"))
    let all = 0..<eight.count
    let says = refusal { _ = try floats.bytes(all) }
    #expect(says.contains("from 0 to 255") && says.contains("--range 0:255"), "\(says)")
    let range = ImageTransform(range: ValueRange(low: 0, high: 255))
    #expect(try floats.bytes(all, transform: range) == eight.bytes(all))
    #expect(
      try floats.read([3], as: Double.self, transform: range).elements
        == eight.bytes([3]).map { Double($0) / 255 })
    // 8-bit values on all of their scale are what they are without a range.
    #expect(try eight.read([3], as: Double.self, transform: range) == eight.read([3], as: Double.self))
    #expect(try eight.advice(all, transform: range, clippedFor: "training").isEmpty)
    #expect(try floats.advice(all, transform: range, clippedFor: "training").isEmpty)
    let advice = try floats.advice(all, transform: .identity)
    #expect(
      advice.map(\.description) == [
        "04-train-float-0-255.npy: values are from 0 to 255, expected 0 (black) to 1 (white); give --range 0:255"
      ])
  }

  @Test(arguments: [
    ([0, 255], "0:255"), ([-1, 0.9], "-1:1"), ([-0.98, 1], "-1:1"), ([-0.5, 0.49], "-0.5:0.5"),
    ([0, 65535], "0:65535"), ([12, 3000], "0:4095"), ([3, 200], "0:255"),
  ])
  func usualScalesAreGuessed(values: [Double], guess: String) {
    var extent = ValueExtent()
    extent.include(values)
    #expect(extent.isElsewhere && extent.guess?.description == guess)
    #expect(extent.expected.hasSuffix("give --range \(guess)"))
  }

  /// 100 may be percent, and nothing holds ±300: then no number is suggested.
  @Test(arguments: [[0, 100], [-300, 300], [0, 1e9], [5e5, 6e5]]) func otherScalesAreNot(values: [Double]) {
    var extent = ValueExtent()
    extent.include(values)
    #expect(extent.isElsewhere && extent.guess == nil)
    #expect(extent.expected.contains("--range LOW:HIGH"))
  }

  @Test func whatIsClippedIsSaid() throws {
    // A quarter of the values is a little outside.
    let set = try open("<f8", [1, 2, 2], doubles([0, 0.5, 1, 1.125]))
    #expect(try set.bytes([0]) == [0, 128, 255, 255])
    #expect(try set.advice([0], transform: .identity).isEmpty)
    let advice = try set.advice([0], transform: .identity, clippedFor: "training").map(\.text)
    #expect(
      advice == ["25 % of the values are outside [0, 1] (from 0 to 1.125) and are clipped for training"])
    // Rounding isn't told.
    let exact = try open("<f8", [1, 2, 2], doubles([0, 0.5, 1, 1 + 1e-6]))
    #expect(try exact.advice([0], transform: .identity, clippedFor: "training").isEmpty)
    // Who says what is white has the rest clipped.
    let range = ImageTransform(range: ValueRange(low: 0, high: 0.5))
    #expect(try exact.bytes([0], transform: range) == [0, 255, 255, 255])
    #expect(
      try exact.advice([0], transform: range, clippedFor: "training").map(\.text) == [
        "50 % of the values are outside [0, 0.5] (from 0 to 1) and are clipped for training"
      ])
    #expect(
      try exact.advice([0], transform: range).map(\.text)[0].hasSuffix("expected 0 to 0.5, as --range says"))
    // Hidden pixels may be anything.
    let hidden = try open("<f8", [1, 2, 2], doubles([0, .nan, .infinity, 1]))
    #expect(try hidden.advice([0], transform: .identity, clippedFor: "training").isEmpty)
  }

  private func doubles(_ values: [Double]) -> [UInt8] {
    values.flatMap { value in (0..<8).map { UInt8(truncatingIfNeeded: value.bitPattern >> UInt64(8 * $0)) } }
  }

  /// 0 and 1 in bytes are next to black, unless 1 is white.
  @Test func scalesOfWhichNothingIsUsed() throws {
    let bits = try open("|u1", [1, 2, 2], [0, 1, 1, 0])
    let advice = try bits.advice([0], transform: .identity).map(\.text)
    #expect(
      advice.count == 1 && advice[0].contains("no value is above 1 of 255") && advice[0].contains("0:1"))
    #expect(refusal { try bits.requireScale(of: [0], transform: .identity) }.contains("--range 0:1 "))
    let range = ImageTransform(range: ValueRange(low: 0, high: 1))
    try bits.requireScale(of: [0], transform: range)
    #expect(try bits.read([0], as: Double.self, transform: range).elements == [0, 1, 1, 0])
    #expect(try bits.bytes([0], transform: range) == [0, 255, 255, 0])
    #expect(try bits.advice([0], transform: range).isEmpty)
    #expect(try open("|u1", [1, 2, 2], [0, 0, 0, 0]).advice([0], transform: .identity).isEmpty)
    #expect(try open("|u1", [1, 2, 2], [0, 2, 1, 0]).advice([0], transform: .identity).isEmpty)
    let deep = try ImageSet(path: folder.write(Fixtures.bytes("grey16"), "deep.png"))
    let words = ramp(20, mul: 3001, mod: 65536).map { Double($0) / 32768 }
    let half = ImageTransform(range: ValueRange(low: 0, high: 32768))
    #expect(try deep.read([0], as: Double.self, transform: half).elements == words)
    #expect(try deep.advice([0], transform: .identity).isEmpty)
  }

  // MARK: Types

  /// Halves that Python's struct packs as 'e'.
  @Test func halfPrecision() throws {
    let words: [UInt16] = [0x0000, 0x3C00, 0x3800, 0xBC00, 0x3555, 0x0001, 0x7BFF, 0x0400, 0x8000]
    let values = [
      0, 1, 0.5, -1, 0.333251953125, 5.960464477539063e-08, 65504, 6.103515625e-05, 0,
    ]
    for (descr, big) in [("<f2", false), (">f2", true)] {
      let data = words.flatMap { word -> [UInt8] in
        big ? [UInt8(word >> 8), UInt8(word & 255)] : [UInt8(word & 255), UInt8(word >> 8)]
      }
      let path = folder.write(npy(descr, [1, 3, 3], data), "half.npy")
      #expect(try NPYFile.read(path, as: Double.self).elements == values)
      #expect(try ImageSet(path: path).read([0], as: Double.self).elements == values)
    }
    let odd = folder.write(npy("<f2", [2], [0x00, 0xFC, 0x01, 0x7C]), "odd.npy")
    let read: Tensor<Double> = try NPYFile.read(odd, nonFinite: .allowed)
    #expect(read.elements[0] == -.infinity && read.elements[1].isNaN)
    #expect(throws: FileError.self) { try NPYFile.read(odd, as: Double.self) }
  }

  @Test func booleansAreBlackAndWhite() throws {
    let set = try open("|b1", [1, 2, 2], [0, 1, 1, 0])
    #expect(try set.read([0], as: Double.self).elements == [0, 1, 1, 0])
    #expect(try set.bytes([0]) == [0, 255, 255, 0])
    #expect(try set.advice([0], transform: .identity, clippedFor: "training").isEmpty)
  }

  @Test func otherIntegersNeedARange() throws {
    let set = try open("<u2", [1, 1, 2], [0, 0, 0xFF, 0x0F])
    #expect(refusal { _ = try set.bytes([0]) }.contains("--range LOW:HIGH"))
    #expect(refusal { _ = try set.read([0], as: Float.self) }.contains("uint16"))
    let range = ImageTransform(range: ValueRange(low: 0, high: 4095))
    #expect(try set.read([0], as: Double.self, transform: range).elements == [0, 1])
  }

  @Test(arguments: [
    ("<c8", "complex numbers", "a.real"), ("|O", "Python objects", "numpy.stack"), ("<U3", "text", "astype"),
    ("<f16", "another size", "astype(numpy.float32)"), ("<M8", "dates", "int64"),
    ("|V4", "isn't known", "astype"),
  ])
  func typesThatHoldNoRealNumbers(descr: String, found: String, remedy: String) throws {
    let path = folder.write(npy(descr, [1, 1], [UInt8](repeating: 0, count: 16)), "a.npy")
    for read in [{ _ = try ImageSet(path: path) }, { _ = try NPYFile.read(path, as: Double.self) }] {
      let says = refusal(read)
      #expect(says.contains(found) && says.contains(remedy), "\(says)")
    }
  }

  // MARK: Layout

  @Test func channelsFirst() throws {
    let path = Cases.path("07-nchw-n1hw.npy")
    let says = refusal { _ = try ImageSet(path: path) }
    #expect(says.contains("[60, 1, 28, 28]") && says.contains("--layout nchw"), "\(says)")
    let set = try ImageSet(path: path, layout: .nchw)
    #expect(set.count == 60 && set.commonShape == ImageShape(height: 28, width: 28, channels: 1))
    #expect(try set.bytes(0..<60) == Array(bytes(of: path).suffix(60 * 784)))
    #expect(
      try ImageSet(path: path, layout: .nhwc).commonShape == ImageShape(height: 1, width: 28, channels: 28))
  }

  /// Every layout gives the same images; the values tell where they come from.
  @Test func layoutsOfColour() throws {
    let (n, h, w, c) = (2, 5, 6, 3)
    func value(_ i: Int, _ y: Int, _ x: Int, _ k: Int) -> UInt8 { UInt8(100 * i + 18 * y + 3 * x + k) }
    let places = (0..<n).flatMap { i in (0..<h).flatMap { y in (0..<w).map { x in (i, y, x) } } }
    let expected = places.flatMap { p in (0..<c).map { value(p.0, p.1, p.2, $0) } }
    let first = (0..<n).flatMap { i in
      (0..<c).flatMap { k in (0..<h).flatMap { y in (0..<w).map { value(i, y, $0, k) } } }
    }
    let shape = ImageShape(height: h, width: w, channels: c)
    let one = expected.count / 2
    for (layout, extents, data) in [
      (ImageLayout.nhwc, [n, h, w, c], expected), (.nchw, [n, c, h, w], first),
      (.hwc, [h, w, c], Array(expected[..<one])), (.chw, [c, h, w], Array(first[..<one])),
    ] {
      let set = try open("|u1", extents, data, layout: layout)
      let all = 0..<set.count
      #expect(set.commonShape == shape && set.count == data.count / shape.count)
      #expect(try set.bytes(all) == Array(expected.prefix(data.count)), "\(layout)")
      let floats = data.flatMap { doubles([Double($0) / 255]) }
      let same = try open("<f8", extents, floats, layout: layout)
      #expect(
        try same.read(all, as: Double.self).elements == expected.prefix(data.count).map { Double($0) / 255 })
      if layout == .nhwc {
        #expect(try open("|u1", extents, data).commonShape == shape)
      } else if layout != .chw {
        #expect(refusal { _ = try open("|u1", extents, data) }.contains("--layout \(layout.rawValue)"))
      } else {
        // May be three grey images; for a model of colour it is told.
        let grey = try open("|u1", extents, data)
        #expect(grey.count == 3 && grey.looksChannelsFirst(for: shape))
        #expect(!grey.looksChannelsFirst(for: ImageShape(height: h, width: w, channels: 1)))
      }
    }
    #expect(refusal { _ = try open("|u1", [n, h, w, c], expected, layout: .hwc) }.contains("three axes"))
  }

  @Test func vectorsHaveNoLayout() throws {
    let path = folder.write(npy("<f8", [2, 1, 1, 8], doubles([Double](repeating: 0.5, count: 16))), "v.npy")
    #expect(try ImageSet(path: path, plane: .vectors).commonShape == .vector(8))
    #expect(try ImageSet(path: path).commonShape == .vector(8))
  }

  // MARK: Colour

  @Test func greyAndColour() throws {
    let path = Cases.path("15-grey-and-colour")
    let set = try ImageSet(path: path)
    let all = 0..<set.count
    let says = refusal { _ = try set.shape(of: all) }
    for word in ["a.png", "b0.png", "--grey", "--colour"] { #expect(says.contains(word), "\(says)") }
    let colour = try set.bytes(all, transform: ImageTransform(channels: .colour))
    let stored = try set.bytes([0])
    #expect(Array(colour.prefix(3 * 784)) == stored.flatMap { [$0, $0, $0] })
    #expect(try Array(colour.suffix(3 * 784)) == set.bytes([5]))
    let grey = try set.bytes(all, transform: ImageTransform(channels: .grey))
    #expect(grey.count == 6 * 784 && Array(grey.prefix(784)) == stored)
    let pixel = try set.bytes([1]).prefix(3).map(PixelValue.scalar)
    #expect(grey[784] == PixelValue.byte(0.299 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2]))
  }
}
