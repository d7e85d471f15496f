/// What an image is taken to be beyond its borders.
public enum Boundary: String, CaseIterable, Sendable {
  /// Its mirror image, the border's value twice: c b a | a b c | c b a.
  case reflect
  /// The border's value: a a a | a b c | c c c.
  case replicate
  /// Zero.
  case zero
  /// The image again: a b c | a b c | a b c.
  case circular
  /// Nothing: only what the image itself decides is measured, so that there are fewer measurements than pixels.
  case valid

  /// The place in a line of n values that stands for place i; nil where a 0 does.
  func source(_ i: Int, _ n: Int) -> Int? {
    if i >= 0, i < n { return i }
    switch self {
    case .zero, .valid: return nil
    case .replicate: return i < 0 ? 0 : n - 1
    case .circular: return (i % n + n) % n
    case .reflect:
      let k = (i % (2 * n) + 2 * n) % (2 * n)
      return k < n ? k : 2 * n - 1 - k
    }
  }
}

/// A line of n values with some more at either end, copies of its own by a boundary rule.
struct ExtendedLine: Sendable {
  /// Values of the line itself.
  let count: Int
  let before: Int
  /// With the values at the ends.
  let extended: Int
  /// The places at the ends, with what stands there; zeros are left out.
  let ends: [(place: Int, source: Int)]
  /// The places where each value of the line stands, ascending.
  let places: [[Int]]
  private let boundary: Boundary

  init(_ count: Int, before: Int, after: Int, _ boundary: Boundary) {
    self.count = count
    self.before = before
    extended = before + count + after
    var places = (0..<count).map { [before + $0] }
    var ends: [(place: Int, source: Int)] = []
    for place in Array(0..<before) + Array(before + count..<extended) {
      guard let source = boundary.source(place - before, count) else { continue }
      ends.append((place, source))
      places[source].append(place)
    }
    self.ends = ends
    self.places = places.map { $0.sorted() }
    self.boundary = boundary
  }

  /// The value that stands in a place; nil for 0.
  func source(_ place: Int) -> Int? { boundary.source(place - before, count) }

  /// From the first to the last of those that stand in some places.
  func sources(of places: Range<Int>) -> Range<Int> {
    var (least, end) = (count, 0)
    for place in places {
      if let source = source(place) { (least, end) = (min(least, source), max(end, source + 1)) }
    }
    return least < end ? least..<end : 0..<0
  }
}
