import AIPOKernels
import AIPOPlatform
import AIPOPriors

/// Where the rays of a scanner go, in a unit of length of the user's (mm, say) and in degrees.
///
/// x goes to the right and y up from the image's middle, pixels are squares of `pixelSize`. At angle θ detector j lies at
/// `s = (j − (n − 1)/2)·spacing + offset` along (cos θ, sin θ). Rays of a parallel beam are the lines `x cos θ + y sin θ = s`. Those
/// of a fan come from a source at `source·(sin θ, −cos θ)` and end on a flat detector at the other side, at distance `detector`
/// from the middle.
public struct ScanGeometry: Sendable {
  public enum Beam: Hashable, Sendable {
    case parallel
    case fan(source: Double, detector: Double)
  }

  public var beam = Beam.parallel
  /// In degrees.
  public var angles: [Double]
  public var detectors: Int
  /// Between neighbouring detectors.
  public var spacing: Double
  /// Of the detectors' middle.
  public var offset = 0.0
  public var pixelSize = 1.0

  public init(
    beam: Beam = .parallel, angles: [Double], detectors: Int, spacing: Double, offset: Double = 0,
    pixelSize: Double = 1
  ) {
    self.beam = beam
    self.angles = angles
    self.detectors = detectors
    self.spacing = spacing
    self.offset = offset
    self.pixelSize = pixelSize
  }

  /// How much larger a length at the middle of the image is on the detector.
  public var magnification: Double {
    if case .fan(let source, let detector) = beam { (source + detector) / source } else { 1 }
  }

  /// How many directions a radian the rays have, at equal distances over half a turn. Where no arc is left out it is the same
  /// everywhere; else as far as an image of this shape can tell directions apart, and never less than a fiftieth of that.
  func directionDensity(for shape: ImageShape) -> [Double] {
    let even = Double(angles.count) / Double.pi
    let turns = angles.map { ($0 / 180).truncatingRemainder(dividingBy: 1) }.map { $0 < 0 ? $0 + 1 : $0 }
      .sorted()
    let gaps = zip(turns, turns.dropFirst() + [turns[0] + 1]).map { $1 - $0 }
    guard gaps.max()! > 2 / Double(turns.count) else { return [even] }
    var reach = max(1.0 / 32, 1 / Double(turns.count))
    if case .fan(let source, _) = beam {
      // Rays beside the middle one are turned by up to this.
      let radius = 0.5 * pixelSize * Double(max(shape.height, shape.width))
      reach = max(reach, 0.5 * asin(min(radius / source, 1)) / Double.pi)
    }
    let bins = 360
    var density = [Double](repeating: 0.02 * even, count: bins)
    for turn in turns {
      let (first, last) = ((turn - reach) * Double(bins), (turn + reach) * Double(bins))
      for bin in Int(first.rounded(.up))...Int(last.rounded(.down)) {
        let share = 1 - (Double(bin) / Double(bins) - turn).magnitude / reach
        density[(bin + bins) % bins] += share / (reach * Double.pi)
      }
    }
    return density
  }

  /// Detectors by which all of an image is seen.
  public static func detectors(
    for shape: ImageShape, beam: Beam, spacing: Double, pixelSize: Double
  ) -> Int {
    let height = Double(shape.height)
    let width = Double(shape.width)
    let radius = 0.5 * pixelSize * (height * height + width * width).squareRoot()
    var reach = radius
    if case .fan(let source, let detector) = beam, source > radius {
      reach *= (source + detector) / (source * source - radius * radius).squareRoot()
    }
    return Int(min((2 * reach / spacing).rounded(.up), 1e6)) + 1
  }
}

/// `f(x)` integrates an image along rays, `[angles, detectors]`: tomography.
///
/// A ray takes one step a row or a column of pixels, whichever it crosses more steeply, and there the value between two pixels
/// by linear interpolation; the image is 0 beyond its borders. So a line integral is in units of length, and the weight of a
/// pixel on a ray is a formula, by which both the sums over pixels and their exact transpose, over rays, are made. (P. Joseph,
/// *An improved algorithm for reprojecting rays through pixel images*, 1982)
public struct Tomography: LinearMap {
  public let input: ImageShape
  public var output: ImageShape {
    ImageShape(height: geometry.angles.count, width: geometry.detectors, channels: input.channels)
  }
  public let geometry: ScanGeometry
  public let nearNormal: Spectrum?
  private let rays: [Ray]
  let directions: [Direction]

  /// At step t along rows or columns a ray is at place `start + slope·t` across them, in pixels.
  private struct Ray: Sendable {
    let start: Double
    let slope: Double
    /// The length of a step.
    let length: Double
    let isAcrossRows: Bool

    /// Calls `both` at every step between two of the places, with the lower one and the upper one's weight, the lower one's
    /// being the rest of 1; and `one` at steps of which one such place is among them.
    @inline(__always)
    func walk(
      steps: Range<Int>, places: Range<Int>, one: (_ t: Int, _ place: Int, _ weight: Double) -> Void,
      both: (_ t: Int, _ below: Int, _ share: Double) -> Void
    ) {
      let (low, high) = (Double(places.lowerBound), Double(places.upperBound))
      let near = self.steps(steps, from: low - 1, to: high, margin: 1)
      let inside = self.steps(near, from: low, to: high - 1, margin: -1)
      @inline(__always) func edge(_ range: Range<Int>) {
        for t in range {
          let place = start + slope * Double(t)
          let lower = place.rounded(.down)
          let (below, share) = (Int(lower), place - lower)
          if places.contains(below) { one(t, below, 1 - share) }
          if places.contains(below + 1) { one(t, below + 1, share) }
        }
      }
      edge(near.lowerBound..<inside.lowerBound)
      for t in inside {
        let place = start + slope * Double(t)
        let below = Int(place)
        both(t, below, place - Double(below))
      }
      edge(inside.upperBound..<near.upperBound)
    }

    /// The steps of a range at which the ray is between two places, and `margin` more at both ends, or as many fewer; a range
    /// within the given one.
    private func steps(_ range: Range<Int>, from low: Double, to high: Double, margin: Int) -> Range<Int> {
      let (least, most) = (Double(range.lowerBound), Double(range.upperBound))
      var (first, last) = (least, most)
      if slope.magnitude > 1e-9 {
        let ends = ((low - start) / slope, (high - start) / slope)
        first = min(max(min(ends.0, ends.1).rounded(.up) - Double(margin), least), most)
        last = min(max(max(ends.0, ends.1).rounded(.down) + 1 + Double(margin), first), most)
      } else if !(start > low + 0.01 && start < high - 0.01) {
        // Beside the places, or so near an end that it is none to be inside.
        last = margin > 0 && start > low - 1 && start < high + 1 ? most : least
      }
      return Int(first)..<Int(last)
    }
  }

  /// Throws where a length isn't positive, or the source of a fan lies in the image.
  public init(_ shape: ImageShape, geometry: ScanGeometry) throws {
    let p = geometry.pixelSize
    for (name, value) in [("the pixel size", p), ("the spacing of detectors", geometry.spacing)] {
      try requireParameter(name, value, in: 1e-12...1e12)
    }
    try requireParameter("the offset", geometry.offset, in: -1e12...1e12)
    try requireParameter("the number of detectors", Double(geometry.detectors), in: 1...1e6)
    try requireParameter("the number of angles", Double(geometry.angles.count), in: 1...1e6)
    for angle in geometry.angles { try requireParameter("an angle", angle, in: -1e6...1e6) }
    let (height, width) = (Double(shape.height), Double(shape.width))
    let radius = 0.5 * p * (height * height + width * width).squareRoot()
    if case .fan(let source, let detector) = geometry.beam {
      try requireParameter("the distance of the source", source, in: radius * (1 + 1e-9)...1e12)
      try requireParameter("the distance of the detector", detector, in: 0...1e12)
    }
    input = shape
    self.geometry = geometry
    let (middleRow, middleColumn) = ((height - 1) / 2, (width - 1) / 2)
    var rays: [Ray] = []
    rays.reserveCapacity(geometry.angles.count * geometry.detectors)
    for angle in geometry.angles {
      for j in 0..<geometry.detectors {
        let s = (Double(j) - Double(geometry.detectors - 1) / 2) * geometry.spacing + geometry.offset
        var turn = angle * Double.pi / 180
        var distance = s
        if case .fan(let source, let detector) = geometry.beam {
          let gamma = atan2(s, source + detector)
          turn -= gamma
          distance = source * sin(gamma)
        }
        let (c, n, place) = (cos(turn), sin(turn), distance / p)
        if c.magnitude >= n.magnitude {
          rays.append(
            Ray(
              start: middleColumn + (place - middleRow * n) / c, slope: n / c, length: p / c.magnitude,
              isAcrossRows: true))
        } else {
          rays.append(
            Ray(
              start: middleRow - (place + middleColumn * c) / n, slope: c / n, length: p / n.magnitude,
              isAcrossRows: false))
        }
      }
    }
    self.rays = rays
    directions = geometry.angles.map { Direction($0, geometry) }
    nearNormal = try Self.near(shape, geometry)
  }

  /// Sums over an image's line integrals weight a frequency f by 1/|f|, and by how many directions a radian there are
  /// around its own.
  private static func near(_ shape: ImageShape, _ geometry: ScanGeometry) throws -> Spectrum {
    let transform = try FourierTransform(shape)
    let columns = shape.width / 2 + 1
    var values = try Tensor<Double>(count: shape.height * columns)
    let p = geometry.pixelSize
    let spacing = geometry.spacing / geometry.magnification
    let least = 0.5 / (Double(max(shape.height, shape.width)) * p)
    let density = geometry.directionDensity(for: shape)
    values.withMemory { values in
      for i in 0..<shape.height {
        let fy = Double(2 * i <= shape.height ? -i : shape.height - i) / (Double(shape.height) * p)
        for k in 0..<columns {
          let fx = Double(k) / (Double(shape.width) * p)
          let turn = atan2(fy, fx) / Double.pi + 1
          let directions = density[Int(turn * Double(density.count)) % density.count]
          values[i * columns + k] =
            directions * p * p / (spacing * max((fx * fx + fy * fy).squareRoot(), least))
        }
      }
    }
    return Spectrum(transform, values: values)
  }

  public func apply(_ x: Vector, into y: Vector, _ scratch: Scratch) throws {
    precondition(x.count == input.count && y.count == output.count)
    let (h, w, c) = (input.height, input.width, input.channels)
    try scratch.pool.split(rays.count, minimum: 1 + (1 << 13) / max(h, w)) { range, _ in
      x.withUnsafeMutableBufferPointer { x in
        for r in range {
          let ray = rays[r]
          let (steps, places) = ray.isAcrossRows ? (h, w) : (w, h)
          let (step, place) = ray.isAcrossRows ? (w * c, c) : (c, w * c)
          for channel in 0..<c {
            var (even, odd) = (0.0, 0.0)
            ray.walk(steps: 0..<steps, places: 0..<places) { t, at, weight in
              even += weight * x[channel + t * step + at * place]
            } both: { t, below, share in
              let at = channel + t * step + below * place
              even += (1 - share) * x[at]
              odd += share * x[at + place]
            }
            y[r * c + channel] = ray.length * (even + odd)
          }
        }
      }
    }
  }

  /// Values of an image that a core keeps near itself.
  private static let blockSize = 1 << 15

  /// Every block of rows adds up all rays in their order, so that threads don't matter.
  public func adjoint(_ u: Vector, into x: Vector, _ scratch: Scratch) throws {
    precondition(x.count == input.count && u.count == output.count)
    let (h, w, c) = (input.height, input.width, input.channels)
    let blockRows = max(1, Self.blockSize / (w * c))
    try scratch.pool.split(h, minimum: 4) { range, _ in
      for start in stride(from: range.lowerBound, to: range.upperBound, by: blockRows) {
        let rows = start..<min(start + blockRows, range.upperBound)
        x[rows.lowerBound * w * c..<rows.upperBound * w * c].set(0)
        x.withUnsafeMutableBufferPointer { x in
          for r in rays.indices {
            let ray = rays[r]
            let (step, place) = ray.isAcrossRows ? (w * c, c) : (c, w * c)
            for channel in 0..<c {
              let value = ray.length * u[r * c + channel]
              ray.walk(steps: ray.isAcrossRows ? rows : 0..<w, places: ray.isAcrossRows ? 0..<w : rows) {
                t, at, weight in
                x[channel + t * step + at * place] += weight * value
              } both: { t, below, share in
                let at = channel + t * step + below * place
                x[at] += (1 - share) * value
                x[at + place] += share * value
              }
            }
          }
        }
      }
    }
  }

  /// Where on the detectors a pixel is seen at an angle.
  struct Direction {
    let cosine: Double
    let sine: Double
    let geometry: ScanGeometry

    init(_ angle: Double, _ geometry: ScanGeometry) {
      (cosine, sine) = (cos(angle * Double.pi / 180), sin(angle * Double.pi / 180))
      self.geometry = geometry
    }

    /// The detector, with fractions, of the ray through a point in pixels from the middle.
    func place(_ x: Double, _ y: Double, _ n: Int) -> Double {
      let p = geometry.pixelSize
      var s = p * (x * cosine + y * sine)
      if case .fan(let source, let detector) = geometry.beam {
        let along = p * (y * cosine - x * sine)
        s *= (source + detector) / max(source + along, 1e-9 * source)
      }
      return (s - geometry.offset) / geometry.spacing + Double(n - 1) / 2
    }
  }
}
