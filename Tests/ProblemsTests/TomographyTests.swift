import AIPOFlowTesting
import AIPOKernels
import AIPOPriors
import AIPOProblems
import AIPOTestCases
import Testing

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

@Suite struct TomographyTests {
  /// The part of every pixel that a disk covers, by 12 × 12 points in it.
  private func disk(
    _ shape: ImageShape, pixel p: Double, radius: Double, x: Double, y: Double
  ) -> [Double] {
    (0..<shape.count).map { k -> Double in
      let column = Double(k % shape.width) - Double(shape.width - 1) / 2
      let row = Double(shape.height - 1) / 2 - Double(k / shape.width)
      var inside = 0
      for i in 0..<12 {
        for j in 0..<12 {
          let dx = p * (column + (Double(i) + 0.5) / 12 - 0.5) - x
          let dy = p * (row + (Double(j) + 0.5) / 12 - 0.5) - y
          if dx * dx + dy * dy <= radius * radius { inside += 1 }
        }
      }
      return Double(inside) / 144
    }
  }

  /// Of an arc of 60°: what waves along its directions and across them have of AᵀA, and of what is near it.
  @Test(arguments: [ScanGeometry.Beam.parallel, .fan(source: 150, detector: 75)])
  func nearNormalOfAnArc(_ beam: ScanGeometry.Beam) throws {
    let shape = ImageShape(height: 64, width: 64, channels: 1)
    let spacing = beam == .parallel ? 1 : 1.5
    let map = try Tomography(
      shape,
      geometry: ScanGeometry(
        beam: beam, angles: (0..<60).map(Double.init),
        detectors: ScanGeometry.detectors(for: shape, beam: beam, spacing: spacing, pixelSize: 1),
        spacing: spacing))
    let near = try #require(map.nearNormal)
    func energies(_ degrees: Double) throws -> (found: Double, near: Double) {
      let turn = degrees / 180 * Double.pi
      let wave = (0..<shape.count).map { k -> Double in
        let (x, y) = (Double(k % 64) - 31.5, 31.5 - Double(k / 64))
        return cos(2 * Double.pi * 0.15 * (x * cos(turn) + y * sin(turn))) * exp(-(x * x + y * y) / 200)
      }
      let square = dot(wave, wave)
      let seen = try map.apply(wave)
      let filtered = try wave.asVector { wave in
        try written(shape.count) { try near.apply({ $0 }, wave, into: $0, $1) }
      }
      return (dot(seen, seen) / square, dot(wave, filtered) / square)
    }
    let (along, across) = (try energies(30), try energies(120))
    #expect((0.7...1.4).contains(along.near / along.found), "\(along)")
    #expect(across.found < 0.1 * along.found && across.near < 0.1 * along.near, "\(along) \(across)")
  }

  /// A chord of a disk has length 2√(r² − d²), in units of length, whatever the pixels' size.
  @Test func chordsOfADisk() throws {
    for (n, p) in [(80, 0.05), (160, 0.025)] {
      let shape = ImageShape(height: n, width: n + 3, channels: 1)
      let (x, y) = (0.3, -0.2)
      let image = disk(shape, pixel: p, radius: 1, x: x, y: y)
      let angles = [0, 20, 45, 77, 90, 135, 170, 250.0]
      for beam in [ScanGeometry.Beam.parallel, .fan(source: 6, detector: 3)] {
        var geometry = ScanGeometry(
          beam: beam, angles: angles, detectors: 61, spacing: 0.06, offset: 0.01, pixelSize: p)
        geometry.spacing *= geometry.magnification
        let found = try Tomography(shape, geometry: geometry).apply(image)
        for (a, angle) in angles.enumerated() {
          let (c, s) = (cos(angle * Double.pi / 180), sin(angle * Double.pi / 180))
          for j in 0..<61 {
            let place = (Double(j) - 30) * geometry.spacing + 0.01
            // The distance of the disk's middle from the ray.
            var distance = x * c + y * s - place
            if case .fan(let source, let detector) = beam {
              let start = (source * s, -source * c)
              let end = (-detector * s + place * c, detector * c + place * s)
              let way = (end.0 - start.0, end.1 - start.1)
              let length = (way.0 * way.0 + way.1 * way.1).squareRoot()
              distance = (way.0 * (y - start.1) - way.1 * (x - start.0)) / length
            }
            guard distance.magnitude < 0.8 else { continue }
            let chord = 2 * (1 - distance * distance).squareRoot()
            #expect((found[a * 61 + j] / chord - 1).magnitude < 0.02, "\(n) \(beam) \(angle) \(place)")
          }
        }
        // On average to a small part of that.
        let total = found.reduce(0, +)
        let direct = try Tomography(
          ImageShape(height: 2 * n, width: 2 * n, channels: 1),
          geometry: {
            var finer = geometry
            finer.pixelSize = p / 2
            return finer
          }()
        ).apply(
          disk(ImageShape(height: 2 * n, width: 2 * n, channels: 1), pixel: p / 2, radius: 1, x: x, y: y))
        #expect((direct.reduce(0, +) / total - 1).magnitude < 2e-3)
      }
    }
  }

  /// At 0 a parallel beam sums the columns, from left to right; at 90 the rows, from the bottom up.
  @Test func orientation() throws {
    let shape = ImageShape(height: 2, width: 3, channels: 1)
    let map = try Tomography(
      shape, geometry: ScanGeometry(angles: [0, 90], detectors: 3, spacing: 2, pixelSize: 2))
    let y = try map.apply([1, 2, 3, 4, 5, 6])
    #expect(distance(Array(y[..<3]), [10, 14, 18]) < 1e-12)
    let rows = try Tomography(
      shape, geometry: ScanGeometry(angles: [90], detectors: 2, spacing: 1)
    ).apply([1, 2, 3, 4, 5, 6])
    #expect(distance(rows, [15, 6]) < 1e-12)
  }

  @Test func adjointsAtEveryShape() throws {
    for (height, width, channels) in [
      (1, 1, 1), (1, 13, 1), (13, 1, 3), (2, 2, 1), (5, 3, 3), (7, 11, 1), (16, 16, 1), (17, 19, 3),
      (23, 5, 1), (8, 31, 1),
    ] {
      let shape = ImageShape(height: height, width: width, channels: channels)
      for beam in [ScanGeometry.Beam.parallel, .fan(source: 20, detector: 0), .fan(source: 17, detector: 30)]
      {
        for (angles, detectors, spacing) in [
          ([0.0, 45, 90, 135, 180, 270], 9, 1.0), ([13, 77.7, 191], 40, 0.31), ([33], 1, 5),
        ] {
          let map = try Tomography(
            shape,
            geometry: ScanGeometry(
              beam: beam, angles: angles, detectors: detectors, spacing: spacing, offset: 0.2))
          #expect(try MapChecks.adjointMismatch(map) <= 1e-12, "\(shape) \(beam) \(angles)")
          // Every entry: a dot test forgives what is small.
          let matrix = try map.matrix()
          for i in stride(from: 0, to: map.output.count, by: 7) {
            var unit = [Double](repeating: 0, count: map.output.count)
            unit[i] = 1
            let row = try map.adjoint(unit)
            #expect(distance(row, (0..<shape.count).map { matrix[i, $0] }) < 1e-12, "\(shape) \(beam) \(i)")
          }
        }
      }
    }
  }

  private func backProjection(_ map: Tomography, _ y: [Double]) throws -> [Double] {
    try y.asVector { y in
      try written(map.input.count) { x, scratch in
        let isKnown = try map.estimate(y, into: x, scratch)
        #expect(isKnown)
      }
    }
  }

  /// A fine scan of a smooth picture gives it back: a half turn of parallel rays, also at angles of unequal gaps and in any
  /// order, a full turn of a fan, and a short scan of it.
  @Test func filteredBackProjection() throws {
    let shape = ImageShape(height: 40, width: 44, channels: 1)
    let image = (0..<shape.count).map { k -> Double in
      let (y, x) = (Double(k / 44) - 18, Double(k % 44) - 24)
      return exp(-(x * x + y * y) / 60) + 0.5 * exp(-((x - 9) * (x - 9) + (y + 5) * (y + 5)) / 20)
    }
    var unequal: [Double] = []
    for a in 0..<180 { unequal.append(Double(a) + 0.4 * sin(Double(a)) + (a % 2 == 0 ? 180 : 0)) }
    let half: [Double] = stride(from: 0, to: 180, by: 2).map { $0 }
    let full: [Double] = stride(from: 0, to: 360, by: 2).map { $0 }
    let short: [Double] = stride(from: 30, to: 280, by: 1).map { $0 }
    for p in [1, 0.2] {
      let fan = ScanGeometry.Beam.fan(source: 90 * p, detector: 40 * p)
      let scans: [(ScanGeometry.Beam, [Double])] = [
        (.parallel, half), (.parallel, unequal), (fan, full), (fan, short),
      ]
      for (beam, angles) in scans {
        var geometry = ScanGeometry(
          beam: beam, angles: angles, detectors: 141, spacing: 0.5 * p, pixelSize: p)
        geometry.spacing *= geometry.magnification
        let map = try Tomography(shape, geometry: geometry)
        let x = try backProjection(map, try map.apply(image))
        let error = distance(x, image) / norm(image)
        #expect(error < 0.03, "\(beam) \(angles.count) \(p): \(error)")
      }
    }
  }

  /// Inside a unit disk it is 1 to a percent, whatever the pixels' size: by chords as they are, of parallel rays, a full turn of a
  /// fan and a short scan.
  @Test func backProjectionOfADisk() throws {
    for (n, p) in [(64, 0.05), (96, 0.03)] {
      let shape = ImageShape(height: n, width: n, channels: 1)
      let fan = ScanGeometry.Beam.fan(source: 5, detector: 3)
      func turn(_ start: Double, _ end: Double) -> [Double] { stride(from: start, to: end, by: 1).map { $0 } }
      let scans: [(ScanGeometry.Beam, [Double])] = [
        (.parallel, turn(0, 180)), (fan, turn(0, 360)), (fan, turn(-17, 223)),
      ]
      for (beam, angles) in scans {
        var geometry = ScanGeometry(beam: beam, angles: angles, detectors: 2 * n, spacing: p, pixelSize: p)
        geometry.spacing *= geometry.magnification
        let map = try Tomography(shape, geometry: geometry)
        var y: [Double] = []
        for _ in angles {
          for j in 0..<2 * n {
            let s = (Double(j) - Double(2 * n - 1) / 2) * geometry.spacing
            var distance = s
            if case .fan(let source, let detector) = beam {
              distance = source * sin(atan2(s, source + detector))
            }
            y.append(2 * max(1 - distance * distance, 0).squareRoot())
          }
        }
        let x = try backProjection(map, y)
        var inside: [Double] = []
        for k in 0..<n * n {
          let (u, v) = (Double(k % n) - Double(n - 1) / 2, Double(k / n) - Double(n - 1) / 2)
          if p * (u * u + v * v).squareRoot() < 0.85 { inside.append(x[k]) }
        }
        let mean = inside.reduce(0, +) / Double(inside.count)
        let spread = norm(inside.map { $0 - mean }) / Double(inside.count).squareRoot()
        #expect(
          (mean - 1).magnitude < 0.01 && spread < 0.02, "\(n) \(beam) \(angles.count): \(mean) \(spread)")
      }
    }
  }

  @Test func impossibleScans() throws {
    let shape = ImageShape(height: 8, width: 8, channels: 1)
    for geometry in [
      ScanGeometry(beam: .fan(source: 5, detector: 5), angles: [0], detectors: 3, spacing: 1),
      ScanGeometry(angles: [0], detectors: 0, spacing: 1), ScanGeometry(angles: [], detectors: 3, spacing: 1),
      ScanGeometry(angles: [0], detectors: 3, spacing: 0),
      ScanGeometry(angles: [.nan], detectors: 3, spacing: 1),
      ScanGeometry(angles: [0], detectors: 3, spacing: 1, pixelSize: -1),
    ] {
      #expect(throws: ProblemError.self) { try Tomography(shape, geometry: geometry) }
    }
  }
}

@Suite struct TransformSensingTests {
  /// All coefficients of an orthonormal transform keep lengths; with m = n the map is one, in any order of signs.
  @Test func orthonormal() throws {
    for (height, width, channels) in [
      (1, 1, 1), (1, 2, 1), (3, 3, 1), (4, 4, 1), (1, 13, 3), (5, 7, 3), (8, 16, 1),
    ] {
      let shape = ImageShape(height: height, width: width, channels: channels)
      for transform in SensingTransform.allCases {
        let n = try TransformSensing(transform, measurements: 1, input: shape, seed: 1).length
        let map = try TransformSensing(transform, measurements: n, input: shape, seed: 1)
        let x = randomVector(shape.count, seed: 2)
        #expect(try distance(map.adjoint(map.apply(x)), x) < 1e-13 * norm(x), "\(shape) \(transform)")
        // Fewer are some of the same, and longer by √(n/m).
        let m = max(n / 2, 1)
        let part = try TransformSensing(transform, measurements: m, input: shape, seed: 1)
        #expect(part.rows.count == m && part.rows == part.rows.sorted() && Set(part.rows).count == m)
        let (all, some) = (try map.apply(x), try part.apply(x))
        let scale = (Double(n) / Double(m)).squareRoot()
        #expect(distance(some, part.rows.map { scale * all[$0] }) < 1e-12 * norm(x))
      }
    }
  }

  /// Against the sums that define them, without the signs: those are the same for all.
  @Test func transformsAreWhatTheySay() throws {
    let n = 8
    let shape = ImageShape.vector(n)
    let x = randomVector(n, seed: 3)
    func all(_ transform: SensingTransform) throws -> [Double] {
      try TransformSensing(transform, measurements: n, input: shape, seed: 5).apply(x)
    }
    var random = Philox(seed: 5, purpose: .operatorEntries)
    let signed = x.map { $0 * (random.next() & 1 == 0 ? 1 : -1) }
    let cosines = (0..<n).map { k -> Double in
      let scale = (k == 0 ? 1.0 / 8 : 2.0 / 8).squareRoot()
      return (0..<n).reduce(0.0) { sum, j in
        let angle = Double.pi * Double(k) * (Double(j) + 0.5) / 8
        return sum + scale * signed[j] * cos(angle)
      }
    }
    #expect(distance(try all(.dct), cosines) < 1e-13)
    let waves = (0..<n).map { k -> Double in
      let scale = (k == 0 || k == n - 1 ? 1.0 / 8 : 2.0 / 8).squareRoot()
      return (0..<n).reduce(0.0) { sum, j in
        let angle = 2 * Double.pi * Double((k + 1) / 2) * Double(j) / 8
        return sum + scale * signed[j] * (k % 2 == 1 || k == 0 ? cos(angle) : sin(angle))
      }
    }
    #expect(distance(try all(.fourier), waves) < 1e-13)
    let parities = (0..<n).map { (k: Int) -> Double in
      var sum = 0.0
      for j in 0..<n { sum += (j & k).nonzeroBitCount % 2 == 0 ? signed[j] : -signed[j] }
      return sum / 8.0.squareRoot()
    }
    #expect(distance(try all(.hadamard), parities) < 1e-13)
  }

  @Test func adjointsAndThreads() throws {
    for (height, width, channels) in [(1, 1, 1), (1, 13, 1), (17, 1, 3), (9, 6, 3), (31, 29, 1), (64, 33, 3)]
    {
      let shape = ImageShape(height: height, width: width, channels: channels)
      for transform in SensingTransform.allCases {
        let map = try TransformSensing(
          transform, measurements: (shape.count + 2) / 3, input: shape, seed: 4)
        #expect(try MapChecks.adjointMismatch(map) <= 1e-12, "\(shape) \(transform)")
        #expect(try MapChecks.differingValues(map, at: MapChecks.point(map)) == 0)
      }
    }
    #expect(throws: ProblemError.self) {
      try TransformSensing(.dct, measurements: 10, input: .vector(9), seed: 1)
    }
  }
}
