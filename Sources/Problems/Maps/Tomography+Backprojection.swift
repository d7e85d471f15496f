import AIPOKernels
import AIPOPlatform
import AIPOPriors

/// Filtered back projection: detector rows filtered by the ramp up to the detectors' own resolution (Ramachandran and
/// Lakshminarayanan's), and summed over the angles at every pixel by linear interpolation between detectors,
///
///     parallel:  x(p) = Σ_a Δ_a q_a(s),                q = p ∗ h
///     fan:       x(p) = Σ_a Δ_a q_a(s)/U²,             q = (p·w·cos γ) ∗ h,   U = (source + along)/source
///
/// along: how far the pixel lies beyond the middle, as the central ray goes. Angles may be any: Δ_a is the mean of the gaps to
/// both neighbours, where a gap of more than twice the median counts as unseen. w shares a line that a fan measures twice between
/// both rays: ½ each in a full turn, and in a shorter scan by how far either is from the scan's ends, smoothly, so that a short
/// scan of 180° and the fan's angle is complete. Lines that were measured once count whole.
///
/// Sources: A. Kak & M. Slaney, *Principles of Computerized Tomographic Imaging*, 1988, 3.3 and 3.4; D. Parker, *Optimal short
/// scan convolution reconstruction for fanbeam CT*, Medical Physics 9(2), 1982.
extension Tomography {
  public func estimate(_ y: Vector, into x: Vector, _ scratch: Scratch) throws -> Bool {
    precondition(x.count == input.count && y.count == output.count)
    let (n, c) = (geometry.detectors, input.channels)
    let spacing = geometry.spacing / geometry.magnification
    let padded = ImageShape(
      height: geometry.angles.count, width: FourierTransform.fastLength(2 * n), channels: c)
    let ramp = (1 - n..<n).map { k -> Double in
      let distance = Double.pi * Double(k) * spacing
      return spacing * (k == 0 ? 1 / (4 * spacing * spacing) : k % 2 == 0 ? 0 : -1 / (distance * distance))
    }
    let filter = try CircularCorrelation(
      padded, kernel: ramp, rows: 1, columns: 2 * n - 1, top: 0, left: n - 1, scratch)
    let angles = ScanAngles(geometry)
    try scratch.scope {
      let rows = try scratch.take(padded.count)
      rows.set(0)
      for a in 0..<padded.height {
        for j in 0..<n {
          let weight = angles.gaps[a] * angles.share(a, fanAngle: fanAngle(j))
          for channel in 0..<c {
            rows[(a * padded.width + j) * c + channel] = weight * y[(a * n + j) * c + channel]
          }
        }
      }
      try filter.apply(rows, into: rows, scratch)
      try scratch.pool.split(input.height, minimum: 1) { range, _ in
        for i in range { backProject(rows, rowLength: padded.width * c, row: i, into: x) }
      }
    }
    return true
  }

  /// γ of a detector; 0 of a parallel beam.
  private func fanAngle(_ j: Int) -> Double {
    guard case .fan(let source, let detector) = geometry.beam else { return 0 }
    let s = (Double(j) - Double(geometry.detectors - 1) / 2) * geometry.spacing + geometry.offset
    return atan2(s, source + detector)
  }

  private func backProject(_ rows: Vector, rowLength: Int, row i: Int, into x: Vector) {
    let (h, w, c, n) = (input.height, input.width, input.channels, geometry.detectors)
    let line = x[i * w * c..<(i + 1) * w * c]
    line.set(0)
    let y = Double(h - 1) / 2 - Double(i)
    for (a, direction) in directions.enumerated() {
      for column in 0..<w {
        let place = direction.place(Double(column) - Double(w - 1) / 2, y, n)
        let below = Int(place.rounded(.down))
        guard place >= 0, below < n, place <= Double(n - 1) else { continue }
        var scale = 1.0
        if case .fan(let source, _) = geometry.beam {
          let along =
            geometry.pixelSize
            * (y * direction.cosine - (Double(column) - Double(w - 1) / 2) * direction.sine)
          let ratio = source / (source + along)
          scale = ratio * ratio
        }
        let share = place - Double(below)
        let from = a * rowLength + below * c
        for channel in 0..<c {
          let next = below + 1 < n ? rows[from + c + channel] : 0
          line[column * c + channel] += scale * ((1 - share) * rows[from + channel] + share * next)
        }
      }
    }
  }
}

/// How the angles of a scan are spread, in radians.
private struct ScanAngles {
  private let angles: [Double]
  /// Δ, one an angle.
  let gaps: [Double]
  /// Where a fan's scan begins and how long it is; nil of a full turn.
  private let scan: (start: Double, length: Double)?
  private let isFan: Bool
  /// Over which a ray's share falls to nothing towards an end of the scan.
  private let taper: Double

  private static let turn = 2 * Double.pi

  private static func wound(_ angle: Double, _ turn: Double) -> Double {
    let rest = angle.truncatingRemainder(dividingBy: turn)
    return rest < 0 ? rest + turn : rest
  }

  init(_ geometry: ScanGeometry) {
    var widest = 0.0
    if case .fan(let source, let detector) = geometry.beam {
      isFan = true
      let half = 0.5 * Double(geometry.detectors - 1) * geometry.spacing + geometry.offset.magnitude
      widest = atan2(half, source + detector)
    } else {
      isFan = false
    }
    let turn = isFan ? Self.turn : Double.pi
    let angles = geometry.angles.map { Self.wound($0 * Double.pi / 180, turn) }
    let order = angles.indices.sorted { (angles[$0], $0) < (angles[$1], $1) }
    let count = order.count
    // Gap k lies behind the k-th angle in order.
    let between = (0..<count).map { k in
      k + 1 < count ? angles[order[k + 1]] - angles[order[k]] : angles[order[0]] + turn - angles[order[k]]
    }
    let sorted = between.sorted()
    let median = sorted[count / 2]
    let isSeen = between.map { $0 <= 2 * median + 1e-9 }
    var gaps = [Double](repeating: 0, count: count)
    for k in 0..<count {
      let before = (k + count - 1) % count
      gaps[order[k]] =
        0.5 * ((isSeen[before] ? between[before] : median) + (isSeen[k] ? between[k] : median))
    }
    (self.angles, self.gaps) = (angles, gaps)
    let largest = between.indices.max { between[$0] < between[$1] }!
    if isFan, !isSeen[largest] {
      let length = turn - between[largest] + median
      scan = (angles[order[(largest + 1) % count]] - 0.5 * median, length)
      taper = max(length - Double.pi + 2 * widest, median)
    } else {
      (scan, taper) = (nil, 1)
    }
  }

  /// `w cos γ`
  func share(_ a: Int, fanAngle gamma: Double) -> Double {
    guard isFan else { return 1 }
    let own = presence(angles[a])
    let other = presence(angles[a] + Double.pi - 2 * gamma)
    return cos(gamma) * (other > 0 ? own / (own + other) : 1)
  }

  /// How much a fan of this angle counts; 0 where it wasn't taken.
  private func presence(_ angle: Double) -> Double {
    guard let scan else { return 1 }
    let place = Self.wound(angle - scan.start, Self.turn)
    guard place < scan.length else { return 0 }
    let toEnd = min(place, scan.length - place) / taper
    let value = sin(0.5 * Double.pi * min(toEnd, 1))
    return value * value
  }
}
