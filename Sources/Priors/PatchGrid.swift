import AIPOFlows
import AIPOKernels

/// Where patches lie over an image: every `stride` pixels along both axes, over its edges too, where the image is continued
/// by its reflection.
///
/// A patch may reach beyond an edge by half its side (by stride − 1 where that is more). So a pixel near an edge is covered,
/// with its mirror images, about as often as one inside.
public struct PatchGrid: Sendable {
  public let patch: ImageShape
  public let rows: Axis
  public let columns: Axis
  /// Patches over a pixel far from the edges, on average: the patch's area over the stride's.
  public let cover: Double

  /// Patches of one shape, `stride` pixels apart; `turn`: which of the shifts of the grid, see `shift`.
  public init(_ image: ImageShape, patch: ImageShape, stride: Int, turn: Int) {
    precondition(image.channels == patch.channels && (1...min(patch.height, patch.width)).contains(stride))
    let shift = Self.shift(turn, stride: stride)
    self.patch = patch
    rows = Axis(length: image.height, side: patch.height, stride: stride, shift: shift.y)
    columns = Axis(length: image.width, side: patch.width, stride: stride, shift: shift.x)
    cover = Double(patch.height * patch.width) / Double(stride * stride)
  }

  /// Patches.
  public var count: Int { rows.count * columns.count }

  /// Patches along one axis.
  public struct Axis: Sendable {
    public let count: Int
    let side: Int
    /// The places that patch k covers, from `k·side` on.
    let sources: [Int]
    /// How often each place is covered, its mirror images counted.
    public let cover: [Double]

    init(length: Int, side: Int, stride: Int, shift: Int) {
      let most = max(side / 2, stride - 1)
      let first = shift - most
      // The last one reaches beyond the end by `most` at most, and by less than a stride less.
      let last = length - side + most
      count = max(1, last < first ? 1 : (last - first) / stride + 1)
      self.side = side
      sources = (0..<count * side).map { Reflection.source(first + $0 / side * stride + $0 % side, length) }
      var cover = [Double](repeating: 0, count: length)
      for place in sources { cover[place] += 1 }
      self.cover = cover
    }

    /// Where patch k begins, if it lies within the image.
    func start(_ k: Int) -> Int? {
      let first = sources[k * side]
      return sources[(k + 1) * side - 1] - first == side - 1 ? first : nil
    }
  }

  /// How far the grid of a turn is moved. t² turns go through all shifts of a grid of stride t, each as far as can be from
  /// all before it, so that a few in a row are spread well; then they begin anew.
  public static func shift(_ turn: Int, stride t: Int) -> (y: Int, x: Int) {
    var distance = [Int](repeating: .max, count: t * t)
    var next = 0
    for _ in 0..<turn % (t * t) {
      for place in distance.indices {
        func apart(_ a: Int, _ b: Int) -> Int { min(abs(a - b), t - abs(a - b)) }
        let (dy, dx) = (apart(place / t, next / t), apart(place % t, next % t))
        distance[place] = min(distance[place], dy * dy + dx * dx)
      }
      let farthest = distance.max() ?? 0
      next = distance.firstIndex(of: farthest) ?? 0
    }
    return (next / t, next % t)
  }
}
