import AIPOKernels
import AIPOPlatform
import AIPOPriors

/// The weights of a correlation, `[height, width]`, and the one of them that lies over the pixel itself:
///
///     y[i, j] = Σ k[a, b] x[i + a − top, j + b − left]
///
/// The order is that of scipy.ndimage.correlate, MATLAB's imfilter and PyTorch's conv2d: the kernel isn't turned. What a
/// single bright pixel becomes is the kernel turned by 180°; symmetric kernels make no difference.
public struct BlurKernel: Sendable {
  public let height: Int
  public let width: Int
  /// Row by row.
  public let values: [Double]
  public let top: Int
  public let left: Int
  /// The factors where the kernel is a column times a row, which costs less.
  let factors: (column: [Double], row: [Double])?

  /// Greatest height and width.
  public static let largest = 1 << 14

  /// `center`: the entry over the pixel itself; nil for the middle, of an even number n entries the one at n/2,
  /// counted from 0, as scipy.ndimage has it.
  public init(_ values: [Double], height: Int, width: Int, center: (row: Int, column: Int)? = nil)
    throws(ProblemError)
  {
    guard (1...Self.largest).contains(height), (1...Self.largest).contains(width),
      values.count == height * width
    else {
      throw .shapeMismatch(what: "kernel", found: [height, width, values.count], expected: [height * width])
    }
    if let bad = values.firstIndex(where: { !$0.isFinite }) {
      throw .nonFinite(what: "kernel row", image: bad / width, position: bad % width, value: values[bad])
    }
    (self.height, self.width, self.values) = (height, width, values)
    (top, left) = (center?.row ?? height / 2, center?.column ?? width / 2)
    precondition((0..<height).contains(top) && (0..<width).contains(left), "center beyond the kernel")
    factors = Self.factors(values, height, width)
  }

  /// The same weights with another entry over the pixel itself; where that lies beyond them, with zeros up to there.
  public func centered(row: Int, column: Int) throws(ProblemError) -> BlurKernel {
    let (above, before) = (max(-row, 0), max(-column, 0))
    let size = (max(height, row + 1) + above, max(width, column + 1) + before)
    var padded = [Double](repeating: 0, count: size.0 * size.1)
    for a in 0..<height {
      for b in 0..<width { padded[(a + above) * size.1 + b + before] = values[a * width + b] }
    }
    return try BlurKernel(
      padded, height: size.0, width: size.1, center: (row: row + above, column: column + before))
  }

  /// A column times a row.
  public init(column: [Double], row: [Double]) throws(ProblemError) {
    try self.init(column.flatMap { a in row.map { a * $0 } }, height: column.count, width: row.count)
  }

  /// The sum of the weights, by which a constant image is multiplied.
  public var sum: Double { values.reduce(0, +) }

  /// By the row and the column of the largest entry, if their product is the kernel to rounding.
  private static func factors(_ values: [Double], _ height: Int, _ width: Int) -> ([Double], [Double])? {
    guard let largest = values.indices.max(by: { values[$0].magnitude < values[$1].magnitude }),
      values[largest] != 0
    else { return nil }
    let pivot = values[largest]
    let row = (0..<width).map { values[largest / width * width + $0] }
    let column = (0..<height).map { values[$0 * width + largest % width] / pivot }
    for a in 0..<height {
      for b in 0..<width
      where (values[a * width + b] - column[a] * row[b]).magnitude > 4e-16 * pivot.magnitude { return nil }
    }
    return (column, row)
  }
}

/// Kernels that are made by a formula. All sum to 1.
extension BlurKernel {
  /// `exp(−o²/2S²)` at offsets o up to 4S, rounded, in rows and columns: scipy.ndimage.gaussian_filter's.
  public static func gaussian(deviation: Double) throws(ProblemError) -> BlurKernel {
    let line = try gaussianLine(deviation, shift: 0).map(\.weight)
    return try BlurKernel(column: line, row: line)
  }

  /// Greatest deviation, radius and length.
  static let longest = 1000.0

  /// The weights at the whole numbers o + shift that are at most 4S, rounded, from 0.
  static func gaussianLine(_ deviation: Double, shift: Double) throws(ProblemError) -> [(
    offset: Double, weight: Double
  )] {
    try requireParameter("the kernel's deviation", deviation, in: 0.01...longest)
    let radius = max((4 * deviation + 0.5).rounded(.down), 1)
    let offsets = (Int(-radius) - 1...Int(radius) + 1).map { Double($0) + shift }
      .filter { $0.magnitude <= radius }
    let weights = offsets.map { exp(-$0 * $0 / (2 * deviation * deviation)) }
    let sum = weights.reduce(0, +)
    return zip(offsets, weights).map { ($0, $1 / sum) }
  }

  /// A mean of size × size pixels.
  public static func box(size: Int) throws(ProblemError) -> BlurKernel {
    try requireParameter("the kernel's size", Double(size), in: 1...longest)
    let line = [Double](repeating: 1 / Double(size), count: size)
    return try BlurKernel(column: line, row: line)
  }

  /// A straight movement over `length` pixels, `angle` degrees counterclockwise from a row. A weight is 1 less the
  /// distance of its pixel to the way of the middle, a line of length − 1, if that is positive: along a row `length` equal
  /// weights, otherwise a line one pixel thick with smooth edges.
  public static func motion(length: Double, angle: Double) throws(ProblemError) -> BlurKernel {
    try requireParameter("the motion's length", length, in: 1...longest)
    try requireParameter("the motion's angle", angle, in: -360...360)
    let half = (length - 1) / 2
    let radians = angle * Double.pi / 180
    // Rows go down.
    let (dx, dy) = (cos(radians), -sin(radians))
    let radius = Int(half.rounded(.up)) + 1
    return try covering(radius) { y, x in
      let along = min(max(x * dx + y * dy, -half), half)
      let (across, beyond) = (x - along * dx, y - along * dy)
      let weight = 1 - (across * across + beyond * beyond).squareRoot()
      return weight > 1e-12 ? weight : 0
    }
  }

  /// A lens out of focus: the part of every pixel that a disk of this radius covers, exactly.
  public static func disk(radius: Double) throws(ProblemError) -> BlurKernel {
    try requireParameter("the disk's radius", radius, in: 0.1...longest)
    // The disk's area in [0, x] × [0, y], and so on for other signs.
    func area(_ y: Double, _ x: Double) -> Double {
      let sign: Double = (x < 0) == (y < 0) ? 1 : -1
      let (x, y) = (min(x.magnitude, radius), min(y.magnitude, radius))
      guard x * x + y * y > radius * radius else { return sign * x * y }
      func primitive(_ t: Double) -> Double {
        0.5 * (t * max(radius * radius - t * t, 0).squareRoot() + radius * radius * asin(min(t / radius, 1)))
      }
      let turn = (radius * radius - y * y).squareRoot()
      return sign * (y * turn + primitive(x) - primitive(turn))
    }
    return try covering(Int((radius + 0.5).rounded(.up))) { y, x in
      let weight =
        area(y + 0.5, x + 0.5) - area(y - 0.5, x + 0.5) - area(y + 0.5, x - 0.5) + area(y - 0.5, x - 0.5)
      return weight > 1e-12 ? weight : 0
    }
  }

  /// Of weights at offsets (y, x) up to a radius, without the empty rim, over their sum.
  private static func covering(_ radius: Int, _ weight: (_ y: Double, _ x: Double) -> Double)
    throws(ProblemError) -> BlurKernel
  {
    let offsets = -radius...radius
    let all = offsets.map { y in offsets.map { x in weight(Double(y), Double(x)) } }
    // All these kernels are symmetric.
    let high = offsets.filter { y in all[y + radius].contains { $0 > 0 } }.max() ?? 0
    let wide = offsets.filter { x in all.contains { $0[x + radius] > 0 } }.max() ?? 0
    let values = (-high...high).flatMap { y in (-wide...wide).map { x in all[y + radius][x + radius] } }
    let sum = values.reduce(0, +)
    return try BlurKernel(values.map { $0 / sum }, height: 2 * high + 1, width: 2 * wide + 1)
  }
}
