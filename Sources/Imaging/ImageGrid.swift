import AIPOKernels

/// Images of one shape side by side on white: sample sheets, and what a PNG of several images holds.
public struct ImageGrid: Sendable {
  /// Words beside and above the images. The name of a method also gets a bar of the method's colour.
  public struct Labels: Sendable {
    /// Above the columns where there are as many, or above every image.
    public var above: [String]
    /// Left of the rows, from top to bottom. Several for each row of images stand evenly spread beside it.
    public var left: [String]
    /// A line above everything.
    public var title: String

    public init(above: [String] = [], left: [String] = [], title: String = "") {
      self.above = above
      self.left = left
      self.title = title
    }

    var isEmpty: Bool { above.isEmpty && left.isEmpty && title.isEmpty }

    /// Whether they can stand at so many images in so many columns.
    public func fit(images: Int, columns: Int) -> Bool {
      let rows = (images + columns - 1) / columns
      return [0, columns, images].contains(above.count) && left.count % rows == 0
    }
  }

  /// 8-bit, `[h, w, c]` of `shape`.
  public let pixels: [UInt8]
  public let shape: ImageShape

  /// Lays out a batch `[n, h, w, c]` of one or three channels, row by row.
  ///
  /// `columns` is about the square root of n unless given; every pixel becomes a square of `scale`
  /// pixels; `gap` pixels lie between images. With labels, which must fit, the picture is RGB.
  public init<Scalar: KernelScalar>(
    _ images: Tensor<Scalar>, columns: Int? = nil, scale: Int = 1, gap: Int = 2, labels: Labels = Labels()
  ) {
    precondition(images.shape.count == 4 && images.count > 0, "a batch of images, not \(images.shape)")
    let shape = ImageShape(height: images.shape[1], width: images.shape[2], channels: images.shape[3])
    self.init(
      images: PixelValue.images(images), shape: shape, columns: columns, scale: scale, gap: gap,
      labels: labels)
  }

  package init(
    images: [[UInt8]], shape: ImageShape, columns: Int? = nil, scale: Int = 1, gap: Int = 2,
    labels: Labels = Labels()
  ) {
    precondition(scale > 0 && gap >= 0 && (columns ?? 1) > 0 && !images.isEmpty)
    let columns = Self.columns(columns, of: images.count)
    precondition(labels.fit(images: images.count, columns: columns), "labels that fit the images")
    let layout = Layout(images.count, shape, columns: columns, scale: scale, gap: gap, labels: labels)
    var canvas = Canvas(height: layout.height, width: layout.width, channels: layout.channels)
    for (k, image) in images.enumerated() {
      canvas.draw(image, shape, at: layout.corner(of: k), scale: scale)
    }
    layout.write(labels, on: &canvas)
    pixels = canvas.pixels
    self.shape = ImageShape(height: canvas.height, width: canvas.width, channels: canvas.channels)
  }

  /// Columns of so many images: as asked for, else about the square root.
  public static func columns(_ asked: Int?, of count: Int) -> Int {
    min(asked ?? Int(Double(count).squareRoot().rounded(.up)), count)
  }

  /// About how many pixels the picture of so many images has.
  public static func pixels(
    _ count: Int, _ shape: ImageShape, columns asked: Int?, scale: Int, gap: Int
  ) -> Double {
    let across = Double(columns(asked, of: count))
    let down = (Double(count) / across).rounded(.up)
    return across * Double(shape.width * scale + gap) * down * Double(shape.height * scale + gap)
  }

  /// Writes a PNG. Throws `unwritable`.
  public func write(to path: String) throws(FileError) {
    guard shape.channels == 1 || shape.channels == 3 else {
      throw .unwritable(path: path, reason: "a PNG can't hold \(shape.channels) channels")
    }
    try AtomicFile.write(png(path: path), to: path)
  }

  func png(path: String) throws(FileError) -> [UInt8] { try PNG.encode(pixels, shape: shape, path: path) }
}

/// Where the images and labels of a grid are.
private struct Layout {
  let columns, rows, gap: Int
  let cell: (height: Int, width: Int)
  let channels: Int
  /// What the labels take: left of the images, above all of them, and above each row of them.
  let margin, head: Int
  let above: [[String]]
  let band: Int

  init(_ count: Int, _ shape: ImageShape, columns: Int, scale: Int, gap: Int, labels: ImageGrid.Labels) {
    self.columns = columns
    self.gap = gap
    rows = (count + columns - 1) / columns
    cell = (shape.height * scale, shape.width * scale)
    channels = labels.isEmpty ? shape.channels : 3
    above = labels.above.map { LabelFont.lines($0, width: shape.width * scale, most: 3) }
    let widest = labels.left.map { LabelFont.width($0) }.max() ?? 0
    margin = widest > 0 ? 4 + min(widest, Self.widestLabel) + Self.barSpace : 0
    let lines = above.map(\.count).max() ?? 0
    band = lines > 0 ? lines * LabelFont.lineHeight + 6 : 0
    head = labels.title.isEmpty ? 0 : LabelFont.lineHeight + 6
    titleWidth = min(LabelFont.width(labels.title), 400)
  }

  static let widestLabel = 240
  /// For the bar of a method's colour, and white on both sides of it.
  static let barSpace = 16

  /// A title may be wider than the images, within reason.
  let titleWidth: Int

  /// Whether each row of images has labels of its own above it.
  private var isEachNamed: Bool { above.count > columns }

  private func top(ofRow row: Int) -> Int {
    head + (isEachNamed ? row + 1 : 1) * band + row * (cell.height + gap)
  }

  var height: Int { top(ofRow: rows - 1) + cell.height }
  var width: Int { margin + max(columns * (cell.width + gap) - gap, titleWidth) }

  func corner(of k: Int) -> (y: Int, x: Int) {
    (top(ofRow: k / columns), margin + k % columns * (cell.width + gap))
  }

  func write(_ labels: ImageGrid.Labels, on canvas: inout Canvas) {
    if !labels.title.isEmpty {
      canvas.write(LabelFont.cut(labels.title, width: width - margin), at: (3, margin))
    }
    for (k, lines) in above.enumerated() {
      let corner = corner(of: k)
      for (line, text) in lines.enumerated() {
        // The last line of all stands just above the image.
        let y = corner.y - 4 - (lines.count - line) * LabelFont.lineHeight
        canvas.write(text, at: (y, corner.x + max(0, cell.width - LabelFont.width(text)) / 2))
      }
    }
    let each = max(labels.left.count / rows, 1)
    for (k, text) in labels.left.enumerated() {
      let top = top(ofRow: k / each)
      let (start, end) = (k % each * cell.height / each, (k % each + 1) * cell.height / each)
      let y = top + (start + end - LabelFont.lineHeight) / 2
      let text = LabelFont.cut(text, width: margin - Self.barSpace)
      canvas.write(text, at: (y, margin - Self.barSpace - LabelFont.width(text)))
      if let place = MethodColours.place(of: text) {
        let inset = each > 1 ? 3 : 0
        canvas.fill(
          MethodColours.table[place].light, y: (top + start + inset)..<(top + end - inset),
          x: (margin - Self.barSpace + 6)..<(margin - Self.barSpace + 10))
      }
    }
  }
}

/// Pixels on white.
private struct Canvas {
  let height, width, channels: Int
  private(set) var pixels: [UInt8]

  init(height: Int, width: Int, channels: Int) {
    self.height = height
    self.width = width
    self.channels = channels
    pixels = [UInt8](repeating: 255, count: height * width * channels)
  }

  mutating func draw(_ image: [UInt8], _ shape: ImageShape, at corner: (y: Int, x: Int), scale: Int) {
    for y in 0..<(shape.height * scale) {
      var target = ((corner.y + y) * width + corner.x) * channels
      for x in 0..<(shape.width * scale) {
        let source = (y / scale * shape.width + x / scale) * shape.channels
        for channel in 0..<channels {
          pixels[target + channel] = image[source + min(channel, shape.channels - 1)]
        }
        target += channels
      }
    }
  }

  /// Writes a line of text in black; what would lie outside is left out.
  mutating func write(_ text: String, at corner: (y: Int, x: Int)) {
    var x = corner.x
    for character in text {
      guard character != " " else {
        x += LabelFont.space
        continue
      }
      let glyph = LabelFont.glyphs[character] ?? LabelFont.missing
      for (k, coverage) in glyph.coverage.enumerated() {
        let row = corner.y + glyph.top + k / glyph.width
        let column = x + glyph.left + k % glyph.width
        guard (0..<height).contains(row), (0..<width).contains(column) else { continue }
        for channel in 0..<channels {
          let place = (row * width + column) * channels + channel
          pixels[place] = UInt8(Int(pixels[place]) * (15 - Int(coverage)) / 15)
        }
      }
      x += glyph.advance
    }
  }

  mutating func fill(_ colour: UInt32, y: Range<Int>, x: Range<Int>) {
    for row in y {
      for column in x {
        for channel in 0..<channels {
          pixels[(row * width + column) * channels + channel] = UInt8(
            colour >> UInt32(16 - 8 * channel) & 255)
        }
      }
    }
  }
}
