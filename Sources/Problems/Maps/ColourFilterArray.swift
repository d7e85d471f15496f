import AIPOKernels
import AIPOPriors

/// Which of its colours a pixel of a sensor sees: a tile that is repeated over the image.
public struct ColourPattern: Hashable, Sendable, CustomStringConvertible {
  /// The channel at each place, row by row.
  public let channels: [Int]
  public let height: Int
  public let width: Int

  private static let letters = Array("RGB")

  /// Reads the letters R, G and B of a tile row by row: a square of them, as RGGB, or rows parted by slashes, as RG/GB.
  public init?(_ text: String) {
    let letters = text.uppercased()
    var rows = letters.split(separator: "/", omittingEmptySubsequences: false).map(Array.init)
    if rows.count == 1 {
      let side = Int(Double(letters.count).squareRoot().rounded())
      guard side > 0, side * side == letters.count else { return nil }
      rows = (0..<side).map { Array(rows[0][$0 * side..<($0 + 1) * side]) }
    }
    let channels = rows.joined().compactMap { Self.letters.firstIndex(of: $0) }
    guard let width = rows.first?.count, width > 0, width <= 64, rows.count <= 64,
      rows.allSatisfy({ $0.count == width }), channels.count == rows.count * width
    else { return nil }
    (self.channels, height, self.width) = (channels, rows.count, width)
  }

  public var description: String {
    let letters = channels.map { Self.letters[$0] }
    if height == width { return String(letters) }
    return (0..<height).map { String(letters[$0 * width..<($0 + 1) * width]) }.joined(separator: "/")
  }

  /// The channel that is seen at a pixel.
  public func channel(row: Int, column: Int) -> Int { channels[row % height * width + column % width] }
}

/// `f(x)` keeps one of the three colours of every pixel, as the filters before a sensor do: demosaicing.
public struct ColourFilterArray: LinearMap {
  public let input: ImageShape
  public var output: ImageShape { ImageShape(height: input.height, width: input.width, channels: 1) }
  public let pattern: ColourPattern
  public let normal: NormalForm
  /// Where every measurement is in the image.
  private let places: [Int]

  /// Throws where the images haven't three channels.
  public init(_ shape: ImageShape, pattern: ColourPattern) throws(ProblemError) {
    guard shape.channels == 3 else {
      throw .shapeMismatch(
        what: "images behind a colour filter array", found: [shape.height, shape.width, shape.channels],
        expected: [shape.height, shape.width, 3])
    }
    input = shape
    self.pattern = pattern
    let places = (0..<shape.height * shape.width).map {
      3 * $0 + pattern.channel(row: $0 / shape.width, column: $0 % shape.width)
    }
    self.places = places
    normal = .pixelwise(
      try memory { () throws(TensorError) in
        var seen = try Tensor(count: shape.count)
        seen.withMemory { seen in for place in places { seen[place] = 1 } }
        return seen
      })
  }

  public func apply(_ x: Vector, into y: Vector, _ scratch: Scratch) {
    precondition(x.count == input.count && y.count == output.count)
    for (k, place) in places.enumerated() { y[k] = x[place] }
  }

  public func adjoint(_ u: Vector, into x: Vector, _ scratch: Scratch) {
    precondition(u.count == output.count && x.count == input.count)
    x.set(0, scratch.pool)
    for (k, place) in places.enumerated() { x[place] = u[k] }
  }
}
