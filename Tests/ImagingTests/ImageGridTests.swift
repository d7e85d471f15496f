import AIPOKernels
import Testing

@testable import AIPOImaging

struct ImageGridTests {
  private let shape = ImageShape(height: 40, width: 60, channels: 1)

  private func grid(_ count: Int, columns: Int, _ labels: ImageGrid.Labels) -> ImageGrid {
    ImageGrid(
      images: [[UInt8]](repeating: [UInt8](repeating: 128, count: shape.count), count: count), shape: shape,
      columns: columns, gap: 4, labels: labels)
  }

  /// The box of the pixels that a test picks, as y and x.
  private func box(_ grid: ImageGrid, _ isPicked: ([UInt8]) -> Bool) -> (
    y: ClosedRange<Int>, x: ClosedRange<Int>
  )? {
    var (ys, xs) = ([Int](), [Int]())
    let channels = grid.shape.channels
    for pixel in 0..<(grid.pixels.count / channels)
    where isPicked(Array(grid.pixels[(pixel * channels)..<((pixel + 1) * channels)])) {
      ys.append(pixel / grid.shape.width)
      xs.append(pixel % grid.shape.width)
    }
    guard let top = ys.min(), let left = xs.min() else { return nil }
    return (top...ys.max()!, left...xs.max()!)
  }

  @Test func labelsStandBesideTheImages() throws {
    let plain = grid(6, columns: 3, ImageGrid.Labels())
    #expect(plain.shape == ImageShape(height: 84, width: 188, channels: 1))
    let named = grid(
      6, columns: 3,
      ImageGrid.Labels(above: ["a", "b", "c"], left: ["truth", "fixed"], title: "Noise, σ = 0.1"))
    #expect(named.shape.channels == 3)
    let (margin, head) = (named.shape.width - 188, named.shape.height - 84)
    #expect(margin >= LabelFont.width("truth") && head >= 2 * LabelFont.lineHeight)
    // The images are where they were, further right and down, and nothing is written on them.
    let images = try #require(box(named) { $0 == [128, 128, 128] })
    #expect(images.y == head...(named.shape.height - 1) && images.x == margin...(named.shape.width - 1))
    let dark = try #require(box(named) { $0.max()! < 100 })
    #expect(dark.y.lowerBound < LabelFont.lineHeight && dark.x.lowerBound < 20)
    // The bar of a method's colour stands beside its row alone.
    let colour = try #require(MethodColours.table.first { $0.method == "fixed" }).light
    let bar = try #require(box(named) { $0 == [16, 8, 0].map { UInt8(colour >> UInt32($0) & 255) } })
    #expect(bar.y == (head + 44)...(head + 83) && bar.x.upperBound < margin && bar.x.count == 4)
  }

  @Test func aLabelForEveryImage() throws {
    let labels = ImageGrid.Labels(above: ["1", "2", "3", "a long label that takes three lines and more"])
    let named = grid(4, columns: 2, labels)
    let band = 3 * LabelFont.lineHeight + 6
    #expect(named.shape == ImageShape(height: 2 * band + 84, width: 124, channels: 3))
    #expect(box(named) { $0.max()! < 100 }?.y.upperBound ?? 0 > 40 + band)
    #expect(labels.fit(images: 4, columns: 2) && !labels.fit(images: 6, columns: 3))
    #expect(!ImageGrid.Labels(left: ["a"]).fit(images: 4, columns: 2))
    #expect(ImageGrid.Labels(left: ["a", "b", "c", "d"]).fit(images: 4, columns: 2))
  }

  @Test func textKeepsWithinItsWidth() {
    #expect(
      LabelFont.lines("one two three", width: LabelFont.width("one two"), most: 3) == ["one two", "three"])
    let cut = LabelFont.lines("one two three", width: LabelFont.width("one two"), most: 1)[0]
    #expect(cut.hasSuffix("…") && LabelFont.width(cut) <= LabelFont.width("one two"))
    #expect(LabelFont.lines("", width: 10, most: 2).isEmpty)
    // What reports write is there, and every glyph lies within its line.
    for character in "Denoising, σ = 0.1 λ ± × − – … #42 (A⁺y)" where character != " " {
      #expect(LabelFont.glyphs[character] != nil, "\(character)")
    }
    for (character, glyph) in LabelFont.glyphs {
      #expect(glyph.coverage.count % glyph.width == 0 && glyph.coverage.contains { $0 > 7 }, "\(character)")
      #expect(glyph.top >= -3 && glyph.top + glyph.coverage.count / glyph.width <= LabelFont.lineHeight)
    }
    #expect(
      LabelFont.glyphs["A"]!.coverage != LabelFont.glyphs["B"]!.coverage && LabelFont.glyphs["語"] == nil)
    _ = grid(1, columns: 1, ImageGrid.Labels(above: ["語\u{1F600}"]))
  }
}
