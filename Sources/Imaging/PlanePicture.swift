import AIPOKernels
import AIPOPlatform

/// A picture of a function of two variables, a pixel a value, with points and lines of the plane on it. x grows to the
/// right and y upwards.
public struct PlanePicture: Sendable {
  public typealias Color = (red: UInt8, green: UInt8, blue: UInt8)

  public let columns: Int
  public let rows: Int
  public let x: ClosedRange<Double>
  public let y: ClosedRange<Double>
  /// RGB, the top row first.
  public private(set) var pixels: [UInt8]

  /// Colours `values`, `[rows, columns]` with the lowest y first, from black at `scale`'s lower bound to light yellow at
  /// its upper one. What is below, NaN included, is black.
  public init(
    values: [Double], columns: Int, x: ClosedRange<Double>, y: ClosedRange<Double>, scale: ClosedRange<Double>
  ) {
    precondition(columns > 0 && !values.isEmpty && values.count % columns == 0)
    self.columns = columns
    rows = values.count / columns
    self.x = x
    self.y = y
    let span = scale.upperBound - scale.lowerBound
    pixels = []
    pixels.reserveCapacity(3 * values.count)
    for row in (0..<rows).reversed() {
      for column in 0..<columns {
        let value = (values[row * columns + column] - scale.lowerBound) / (span > 0 ? span : 1)
        let color = ColorMap.color(value)
        pixels += [color.red, color.green, color.blue]
      }
    }
  }

  /// The middles of `count` pixels over a range, as the values of a picture are taken.
  public static func middles(_ range: ClosedRange<Double>, _ count: Int) -> [Double] {
    let step = (range.upperBound - range.lowerBound) / Double(count)
    return (0..<count).map { range.lowerBound + (Double($0) + 0.5) * step }
  }

  /// Draws a disc, of a radius in pixels; `opacity` is on [0, 1].
  public mutating func addPoint(
    _ point: (x: Double, y: Double), radius: Double, color: Color, opacity: Double = 1
  ) {
    addLine([point], width: 2 * radius, color: color, opacity: opacity)
  }

  /// Draws a ring round a point.
  public mutating func addRing(_ point: (x: Double, y: Double), radius: Double, width: Double, color: Color) {
    let center = position(point)
    blend(around: [center], reach: radius + width, color: color, opacity: 1) { x, y in
      let distance = hypot(x - center.x, y - center.y)
      return width / 2 + 0.5 - (distance - radius).magnitude
    }
  }

  /// Draws the line through the points, of a width in pixels.
  public mutating func addLine(
    _ points: [(x: Double, y: Double)], width: Double, color: Color, opacity: Double = 1
  ) {
    let corners = points.map(position)
    for (k, start) in corners.enumerated() where k + 1 < corners.count || corners.count == 1 {
      let end = corners.count == 1 ? start : corners[k + 1]
      let (dx, dy) = (end.x - start.x, end.y - start.y)
      let square = dx * dx + dy * dy
      blend(around: [start, end], reach: width / 2 + 1, color: color, opacity: opacity) { x, y in
        let along = square > 0 ? min(max(((x - start.x) * dx + (y - start.y) * dy) / square, 0), 1) : 0
        return width / 2 + 0.5 - hypot(x - start.x - along * dx, y - start.y - along * dy)
      }
    }
  }

  /// Writes a PNG. Throws `unwritable`.
  public func write(to path: String) throws(FileError) {
    let shape = ImageShape(height: rows, width: columns, channels: 3)
    try AtomicFile.write(try PNG.encode(pixels, shape: shape, path: path), to: path)
  }

  /// Writes pictures of one size side by side as a PNG. Throws `unwritable`.
  public static func write(_ pictures: [PlanePicture], to path: String) throws(FileError) {
    guard let first = pictures.first else { preconditionFailure("there are no pictures to write") }
    let shape = ImageShape(height: first.rows, width: first.columns, channels: 3)
    precondition(pictures.allSatisfy { $0.rows == first.rows && $0.columns == first.columns })
    let grid = ImageGrid(images: pictures.map(\.pixels), shape: shape, columns: pictures.count, gap: 6)
    try grid.write(to: path)
  }

  // MARK: Pixels

  /// In pixels from the top left.
  private func position(_ point: (x: Double, y: Double)) -> (x: Double, y: Double) {
    (
      (point.x - x.lowerBound) / (x.upperBound - x.lowerBound) * Double(columns) - 0.5,
      (y.upperBound - point.y) / (y.upperBound - y.lowerBound) * Double(rows) - 0.5
    )
  }

  /// Mixes a colour in by what `coverage`, clipped to [0, 1], says of the pixels within `reach` of the corners' box.
  private mutating func blend(
    around corners: [(x: Double, y: Double)], reach: Double, color: Color, opacity: Double,
    coverage: (Double, Double) -> Double
  ) {
    func range(_ values: [Double], _ count: Int) -> Range<Int> {
      guard values.allSatisfy(\.isFinite), let low = values.min(), let high = values.max() else {
        return 0..<0
      }
      let first = min(max(low - reach, 0), Double(count))
      let last = min(max(high + reach + 1, first), Double(count))
      return Int(first)..<Int(last)
    }
    for row in range(corners.map(\.y), rows) {
      for column in range(corners.map(\.x), columns) {
        let share = opacity * min(max(coverage(Double(column), Double(row)), 0), 1)
        guard share > 0 else { continue }
        let start = 3 * (row * columns + column)
        for (k, target) in [color.red, color.green, color.blue].enumerated() {
          let old = Double(pixels[start + k])
          pixels[start + k] = UInt8((old + share * (Double(target) - old)).rounded())
        }
      }
    }
  }
}
