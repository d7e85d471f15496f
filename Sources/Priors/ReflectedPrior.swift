import AIPOFlows
import AIPOKernels

/// A prior for images of a size that the one behind it doesn't accept: the image is continued beyond its lower and right
/// edge by its own reflection, up to a size that is accepted, and
///
///     R(x) = d/d′ · R′(Px)
///
/// with d and d′ the values of x and of the continued Px, so that the margin, which says nothing new, isn't counted as
/// image. That is no density of x in the strict sense: its integral isn't known. At an accepted size P is the identity.
public struct ReflectedPrior: Prior {
  public let imageShape: ImageShape
  /// R′
  public let base: any Prior

  /// - Precondition: `base` has the same channels, and at least the height and width.
  public init(_ base: any Prior, imageShape: ImageShape) {
    let outer = base.imageShape
    precondition(
      outer.channels == imageShape.channels && outer.height >= imageShape.height
        && outer.width >= imageShape.width)
    self.base = base
    self.imageShape = imageShape
  }

  public var encoding: Requantization? { base.encoding }
  public var resolution: Double { base.resolution }
  public var isSmooth: Bool { base.isSmooth }
  public var isNormalized: Bool { imageShape == base.imageShape && base.isNormalized }
  public var probeLength: Int? { base.probeLength }
  private var share: Double { Double(count) / Double(base.count) }

  public func round(_ x: Vector, _ scratch: Scratch) { base.round(x, scratch) }

  public func evaluate(_ x: Vector, gradient: Vector?, _ scratch: Scratch) throws -> Double {
    try scratch.scope {
      let outer = try scratch.take(base.count)
      setContinued(outer, x)
      guard let gradient else { return share * (try base.evaluate(outer, gradient: nil, scratch)) }
      let slope = try scratch.take(base.count)
      let value = try base.evaluate(outer, gradient: slope, scratch)
      fold(slope, times: share, into: gradient)
      return share * value
    }
  }

  public func probe(_ v: Vector, at x: Vector, into g: Vector, _ scratch: Scratch) throws {
    try scratch.scope {
      let outer = try scratch.take(base.count)
      let pulled = try scratch.take(base.count)
      setContinued(outer, x)
      try base.probe(v, at: outer, into: pulled, scratch)
      fold(pulled, times: share.squareRoot(), into: g)
    }
  }

  public var noiseLevels: Condition? { base.noiseLevels }
  public var seesMirrorImages: Bool { base.seesMirrorImages }

  public func smoothed(by s: Double, turn: Int) throws -> any Prior {
    ReflectedPrior(try base.smoothed(by: s, turn: turn), imageShape: imageShape)
  }

  /// The mean of the copies of every value in the continued image's D_s.
  public func denoise(_ v: Vector, noise s: Double, turn: Int, into z: Vector, _ scratch: Scratch) throws
    -> Double
  {
    try scratch.scope {
      let outer = try scratch.take(base.count)
      let clean = try scratch.take(base.count)
      setContinued(outer, v)
      let value = try base.denoise(outer, noise: s, turn: turn, into: clean, scratch)
      fold(clean, times: 1, into: z)
      let copies = try scratch.take(count)
      outer.set(1, scratch.pool)
      fold(outer, times: 1, into: copies)
      z.setEach(scratch.pool, z, copies) { $0 / $1 }
      return share * value
    }
  }

  // MARK: P

  private var rowLength: Int { base.imageShape.width * imageShape.channels }
  private var innerRowLength: Int { imageShape.width * imageShape.channels }

  /// Where in a row of the image the value at place j of a continued row comes from.
  private func reflected(_ j: Int) -> Int {
    let c = imageShape.channels
    return Reflection.source(j / c, imageShape.width) * c + j % c
  }

  private func forEachRow(_ body: (_ row: Int, _ source: Int) -> Void) {
    for row in 0..<base.imageShape.height { body(row, Reflection.source(row, imageShape.height)) }
  }

  /// `outer ← Px`
  private func setContinued(_ outer: Vector, _ x: Vector) {
    forEachRow { row, source in
      for j in 0..<rowLength { outer[row * rowLength + j] = x[source * innerRowLength + reflected(j)] }
    }
  }

  /// `g ← factor·Pᵀu`
  private func fold(_ u: Vector, times factor: Double, into g: Vector) {
    g.set(0)
    forEachRow { row, source in
      for j in 0..<rowLength { g[source * innerRowLength + reflected(j)] += factor * u[row * rowLength + j] }
    }
  }
}
