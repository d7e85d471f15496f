import AIPOKernels
import AIPOPlatform
import AIPOPriors

/// `f(x)` correlates an image with a kernel, each channel by itself (`BlurKernel` says in which order): deblurring.
///
/// Three ways lead to the same values to rounding, and the cheapest is taken: sums over all weights, over the column and
/// the row that the kernel is a product of, and by Fourier transforms.
///
/// Over ranks each has a strip of the image's rows and one of the measurements' (`measuredStrips`), with the bits of one
/// process.
public struct ConvolutionMap: LinearMap {
  /// How the sums are made.
  public enum Path: Sendable { case direct, separable, fourier }

  /// Over ranks that of this one's strip, as `output`.
  public let input: ImageShape
  public let output: ImageShape
  public let kernel: BlurKernel
  public let boundary: Boundary
  public let path: Path
  public let normal: NormalForm
  public let nearNormal: Spectrum?
  private let strips: Strips
  /// Those of the measurements.
  public let measuredStrips: Strips
  private let rows: ExtendedLine
  private let columns: ExtendedLine
  /// Around the image itself, or around the extended one, whose strips are `paddedStrips`.
  private let circular: CircularCorrelation?
  private let paddedStrips: Strips

  /// - `shape`: of the images; over ranks of this one's strip.
  /// - `path`: nil for the cheapest.
  /// - `strips`: where ranks share an image.
  ///
  /// Throws where the boundary is `valid` and the kernel larger than the image, and where there is no memory.
  public init(
    _ shape: ImageShape, kernel: BlurKernel, boundary: Boundary = .reflect, path: Path? = nil,
    strips: Strips? = nil, _ scratch: Scratch = Scratch()
  ) throws {
    let strips = strips ?? Strips(height: shape.height)
    let (height, ranks) = (strips.height, strips.ranks)
    precondition(height > 0 && shape.width > 0 && shape.channels > 0, "no convolution of \(shape)")
    self.strips = strips
    input = shape
    self.kernel = kernel
    self.boundary = boundary
    let isValid = boundary == .valid
    if isValid, kernel.height > height || kernel.width > shape.width {
      throw ProblemError.shapeMismatch(
        what: "kernel with boundary valid", found: [kernel.height, kernel.width],
        expected: [height, shape.width])
    }
    measuredStrips = isValid ? Strips(ranks: ranks, height: height - kernel.height + 1) : strips
    output = ImageShape(
      height: measuredStrips.rows().count, width: isValid ? shape.width - kernel.width + 1 : shape.width,
      channels: shape.channels)
    func line(_ n: Int, _ weights: Int, _ center: Int) -> ExtendedLine {
      ExtendedLine(
        n, before: isValid ? 0 : center, after: isValid ? 0 : weights - 1 - center, boundary)
    }
    rows = line(height, kernel.height, kernel.top)
    columns = line(shape.width, kernel.width, kernel.left)
    let around = try CircularCorrelation(
      shape, kernel: kernel.values, rows: kernel.height, columns: kernel.width, top: kernel.top,
      left: kernel.left, strips: strips, scratch)
    let near = try around.normal()
    normal = boundary == .circular ? .stationary(near) : .unknown
    nearNormal = near
    let size =
      boundary == .circular
      ? (height, shape.width)
      : (FourierTransform.fastLength(rows.extended), FourierTransform.fastLength(columns.extended))
    self.path =
      path == .separable && kernel.factors == nil
      ? .direct
      : path ?? Self.cheapest(kernel, measuredStrips.height * output.width, size)
    paddedStrips = boundary == .circular ? strips : Strips(ranks: ranks, height: size.0)
    circular =
      self.path != .fourier
      ? nil
      : boundary == .circular
        ? around
        : try CircularCorrelation(
          ImageShape(height: paddedStrips.rows().count, width: size.1, channels: shape.channels),
          kernel: kernel.values, rows: kernel.height, columns: kernel.width, top: 0, left: 0,
          strips: paddedStrips, scratch)
  }

  /// By the time of a weight at a value, about the same for both sums, and of the transforms.
  private static func cheapest(_ kernel: BlurKernel, _ measured: Int, _ size: (Int, Int)) -> Path {
    let values = Double(measured)
    let padded = Double(size.0 * size.1)
    let fourier = 8 * padded * log2(padded + 1)
    let direct = values * Double(kernel.values.count { $0 != 0 })
    let separable = kernel.factors == nil ? .infinity : values * Double(kernel.height + kernel.width)
    if fourier < min(direct, separable) { return .fourier }
    return separable < direct ? .separable : .direct
  }

  public func apply(_ x: Vector, into y: Vector, _ scratch: Scratch) throws {
    precondition(x.count == input.count && y.count == output.count)
    if let circular, boundary == .circular { return try circular.apply(x, into: y, scratch) }
    try scratch.scope {
      let c = input.channels
      let length = output.width * c
      if let circular {
        let padded = try scratch.take(circular.shape.count)
        let rowLength = circular.shape.width * c
        try extend(x, into: padded, { paddedRows($0) }, rowLength: rowLength, scratch)
        try circular.apply(padded, into: padded, scratch)
        let seen = try SeenRows(
          { measuredStrips.rows(rank: $0) }, of: padded, rowLength: rowLength, paddedStrips, scratch)
        let first = measuredStrips.rows().lowerBound
        return try scratch.pool.split(output.height, minimum: 64) { range, _ in
          for i in range { y[i * length..<(i + 1) * length].set(seen.values(first + i)[0..<length]) }
        }
      }
      let rowLength = columns.extended * c
      let count = rowsBehind(measuredStrips.ranks.rank).count
      let extended = try scratch.take(count * rowLength)
      try extend(x, into: extended, { rowsBehind($0) }, rowLength: rowLength, scratch)
      func part(_ row: Int, _ b: Int) -> Vector {
        extended[row * rowLength + b * c..<row * rowLength + b * c + length]
      }
      guard path == .separable, let (column, row) = kernel.factors else {
        return try sumRows(output.height, into: y, length, scratch) { i, sum in
          for a in 0..<kernel.height {
            for b in 0..<kernel.width { sum(kernel.values[a * kernel.width + b], part(i + a, b)) }
          }
        }
      }
      let between = try scratch.take(count * length)
      try sumRows(count, into: between, length, scratch) { i, sum in
        for (b, weight) in row.enumerated() { sum(weight, part(i, b)) }
      }
      try sumRows(output.height, into: y, length, scratch) { i, sum in
        for (a, weight) in column.enumerated() {
          sum(weight, between[(i + a) * length..<(i + a + 1) * length])
        }
      }
    }
  }

  public func adjoint(_ u: Vector, into x: Vector, _ scratch: Scratch) throws {
    precondition(u.count == output.count && x.count == input.count)
    if let circular, boundary == .circular { return try circular.adjoint(u, into: x, scratch) }
    try scratch.scope {
      let c = input.channels
      let length = output.width * c
      if let circular {
        let padded = try scratch.take(circular.shape.count)
        let rowLength = circular.shape.width * c
        func measured(_ rank: Int) -> Range<Int> {
          paddedRows(rank).clamped(to: 0..<measuredStrips.height)
        }
        let seen = try SeenRows({ measured($0) }, of: u, rowLength: length, measuredStrips, scratch)
        padded.set(0, scratch.pool)
        for (k, row) in measured(strips.ranks.rank).enumerated() {
          padded[k * rowLength..<k * rowLength + length].set(seen.values(row))
        }
        try circular.adjoint(padded, into: padded, scratch)
        let folded = try SeenRows(
          { rowsOver($0) }, of: padded, rowLength: rowLength, paddedStrips, scratch)
        return try fold({ folded.values($0) }, into: x, scratch)
      }
      let rowLength = columns.extended * c
      let own = rowsOver(strips.ranks.rank)
      let extended = try scratch.take(own.count * rowLength)
      let measured = try SeenRows(
        { rank in
          let over = rowsOver(rank)
          let seen = over.lowerBound - kernel.height + 1..<over.upperBound
          return seen.clamped(to: 0..<measuredStrips.height)
        }, of: u, rowLength: length, measuredStrips, scratch)
      /// The rows of u that a row of the extended image went into, with the kernel's row.
      func seen(_ r: Int, _ body: (_ a: Int, _ i: Int) -> Void) {
        for a in max(0, r - measuredStrips.height + 1)..<min(kernel.height, r + 1) { body(a, r - a) }
      }
      if path == .separable, let (column, row) = kernel.factors {
        let between = try scratch.take(own.count * length)
        try sumRows(own.count, into: between, length, scratch) { k, sum in
          seen(own.lowerBound + k) { a, i in sum(column[a], measured.values(i)) }
        }
        try scatterRows(own.count, into: extended, rowLength, scratch) { k, add in
          for (b, weight) in row.enumerated() { add(weight, between[k * length..<(k + 1) * length], b * c) }
        }
      } else {
        try scatterRows(own.count, into: extended, rowLength, scratch) { k, add in
          seen(own.lowerBound + k) { a, i in
            for b in 0..<kernel.width {
              add(kernel.values[a * kernel.width + b], measured.values(i), b * c)
            }
          }
        }
      }
      try fold(
        { extended[($0 - own.lowerBound) * rowLength..<($0 - own.lowerBound + 1) * rowLength] }, into: x,
        scratch)
    }
  }

  // MARK: Parts

  /// Rows of the extended image that a rank's measurements are sums of.
  private func rowsBehind(_ rank: Int) -> Range<Int> {
    let own = measuredStrips.rows(rank: rank)
    return own.isEmpty ? own : own.lowerBound..<own.upperBound + kernel.height - 1
  }

  /// Rows of the extended image that a rank has of it where that is transformed.
  private func paddedRows(_ rank: Int) -> Range<Int> {
    paddedStrips.rows(rank: rank).clamped(to: 0..<rows.extended)
  }

  /// Rows of the extended image from the first to the last in which a rank's rows stand.
  private func rowsOver(_ rank: Int) -> Range<Int> {
    let own = strips.rows(rank: rank)
    var (least, end) = (rows.extended, 0)
    for row in own {
      for place in rows.places[row] { (least, end) = (min(least, place), max(end, place + 1)) }
    }
    return own.isEmpty ? own : least..<end
  }

  /// Fills rows of y with sums of rows of other arrays.
  private func sumRows(
    _ rows: Int, into y: Vector, _ length: Int, _ scratch: Scratch,
    _ body: (_ row: Int, _ sum: (_ weight: Double, _ of: Vector) -> Void) -> Void
  ) throws {
    try scratch.pool.split(rows, minimum: 1 + (1 << 12) / length) { range, _ in
      for i in range {
        let row = y[i * length..<(i + 1) * length]
        row.set(0)
        body(i) { weight, source in if weight != 0 { row.add(source, times: weight) } }
      }
    }
  }

  /// Fills rows of the extended image with sums of rows that go to a part of them.
  private func scatterRows(
    _ rows: Int, into extended: Vector, _ rowLength: Int, _ scratch: Scratch,
    _ body: (_ row: Int, _ add: (_ weight: Double, _ of: Vector, _ to: Int) -> Void) -> Void
  ) throws {
    try scratch.pool.split(rows, minimum: 1 + (1 << 12) / rowLength) { range, _ in
      for r in range {
        let row = extended[r * rowLength..<(r + 1) * rowLength]
        row.set(0)
        body(r) { weight, source, to in
          if weight != 0 { row[to..<to + source.count].add(source, times: weight) }
        }
      }
    }
  }

  /// Writes a rank's rows of the extended image into rows of a longer length; what is beyond it is 0.
  private func extend(
    _ x: Vector, into y: Vector, _ extended: (_ rank: Int) -> Range<Int>, rowLength: Int, _ scratch: Scratch
  ) throws {
    let c = input.channels
    try scratch.scope {
      let seen = try SeenRows(
        { rows.sources(of: extended($0)) }, of: x, rowLength: columns.count * c, strips, scratch)
      let own = extended(strips.ranks.rank)
      y.set(0, scratch.pool)
      try scratch.pool.split(own.count, minimum: 16) { range, _ in
        for k in range {
          guard let source = rows.source(own.lowerBound + k) else { continue }
          let line = seen.values(source)
          let row = y[k * rowLength..<(k + 1) * rowLength]
          row[columns.before * c..<(columns.before + columns.count) * c].set(line)
          for (end, own) in columns.ends {
            for k in 0..<c { row[end * c + k] = line[own * c + k] }
          }
        }
      }
    }
  }

  /// The adjoint of `extend`, of rows of the extended image.
  private func fold(_ extended: (_ row: Int) -> Vector, into x: Vector, _ scratch: Scratch) throws {
    let (c, own) = (input.channels, strips.rows())
    try scratch.pool.split(own.count, minimum: 16) { range, _ in
      for k in range {
        let line = x[k * columns.count * c..<(k + 1) * columns.count * c]
        line.set(0)
        for place in rows.places[own.lowerBound + k] {
          let row = extended(place)
          line.add(row[columns.before * c..<(columns.before + columns.count) * c])
          for (end, own) in columns.ends {
            for k in 0..<c { line[own * c + k] += row[end * c + k] }
          }
        }
      }
    }
  }
}
