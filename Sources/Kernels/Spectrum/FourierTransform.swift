import CAIPOFFT

/// The discrete Fourier transform of real images of one shape, any height and width, each channel by itself:
///
///     X[i, k] = Σ x[y, x] e^(−2πi (iy/h + kx/w)),   0 ≤ i < h, 0 ≤ k ≤ ⌊w/2⌋
///
/// The other half follows from `X[−i, −k] = conj X[i, k]`. A spectrum is `[h, ⌊w/2⌋ + 1, c]` complex numbers as pairs
/// (re, im). O(d log d), the same bits on any number of threads; the object is read only and may be shared.
///
/// Over ranks each has a strip of the image's rows and some columns of its spectrum, `[h, own, c]`. Rows are transformed where
/// they are, then every rank sends every other the part of its columns, and columns are transformed: the bits are those of one
/// process.
public final class FourierTransform: Sendable {
  /// Of the images; over ranks of this one's strip.
  public let shape: ImageShape
  private let strips: Strips
  private let rowPlan: Plan
  private let columnPlan: Plan
  /// Frequencies in a row of the whole spectrum, and those of them that this rank has.
  private let width: Int
  private let columns: Range<Int>

  /// Throws where there is no memory.
  ///
  /// - Parameters:
  ///   - shape: of the images; over ranks of this one's strip.
  ///   - strips: where ranks share an image.
  public init(_ shape: ImageShape, strips: Strips? = nil) throws(TensorError) {
    let strips = strips ?? Strips(height: shape.height)
    precondition(
      strips.height > 0 && shape.width > 0 && shape.channels > 0 && shape.height == strips.rows().count,
      "no transform of \(shape)")
    self.shape = shape
    self.strips = strips
    rowPlan = try Plan(length: shape.width)
    columnPlan = try Plan(length: strips.height)
    width = shape.width / 2 + 1
    columns = strips.ranks.share(of: width)
  }

  /// Rows of the whole image.
  private var height: Int { strips.height }

  /// Values of the whole image.
  var wholeCount: Int { height * shape.width * shape.channels }

  /// Frequencies of a channel that this rank has.
  var frequencies: Int { height * columns.count }

  /// Doubles in a spectrum, or in this rank's part of one.
  public var spectrumCount: Int { 2 * frequencies * shape.channels }

  /// The spectrum of an image. Throws where there is no memory for temporaries, or a rank is lost.
  public func forward(_ x: Vector, into spectrum: Vector, _ scratch: Scratch) throws {
    precondition(x.count == shape.count && spectrum.count == spectrumCount)
    func transformRows(into rows: Vector) throws {
      try lines(x, rows, scratch) { count, x, X, work in
        aipo_fft_real(rowPlan.plan, count, shape.channels, Self.reading(x), X, work)
      }
    }
    if strips.ranks.count == 1 {
      try transformRows(into: spectrum)
    } else {
      try exchangingRows(spectrum, scratch) { rows, blocks, exchange in
        try transformRows(into: rows)
        try eachPart(scratch) { inRows, inBlocks in blocks[inBlocks].set(rows[inRows]) }
        try exchange(true)
      }
    }
    try transformColumns(of: spectrum, backward: false, scratch)
  }

  /// The image of a spectrum, which is overwritten: `backward` undoes `forward`.
  public func backward(_ spectrum: Vector, into x: Vector, _ scratch: Scratch) throws {
    precondition(x.count == shape.count && spectrum.count == spectrumCount)
    try transformColumns(of: spectrum, backward: true, scratch)
    let scale = 1 / Double(height * shape.width)
    func transformRows(of rows: Vector) throws {
      try lines(x, rows, scratch) { count, x, X, work in
        aipo_fft_real_backward(rowPlan.plan, count, shape.channels, Self.reading(X), scale, x, work)
      }
    }
    if strips.ranks.count == 1 {
      try transformRows(of: spectrum)
    } else {
      try exchangingRows(spectrum, scratch) { rows, blocks, exchange in
        try exchange(false)
        try eachPart(scratch) { inRows, inBlocks in rows[inRows].set(blocks[inBlocks]) }
        try transformRows(of: rows)
      }
    }
  }

  /// Calls `body` with memory for the spectra of this rank's rows, in order and in blocks of the ranks' columns, and with what
  /// exchanges such blocks for this rank's columns, or back.
  private func exchangingRows(
    _ spectrum: Vector, _ scratch: Scratch,
    _ body: (_ rows: Vector, _ blocks: Vector, _ exchange: (_ forward: Bool) throws -> Void) throws -> Void
  ) throws {
    try strips.check()
    let (ranks, c) = (strips.ranks, shape.channels)
    try scratch.scope {
      let rows = try scratch.take(2 * shape.height * width * c)
      let blocks = try scratch.take(rows.count)
      try body(rows, blocks) { forward in
        let own = (0..<ranks.count).map { rank in
          let columns = ranks.share(of: width, rank: rank)
          let start = 2 * shape.height * columns.lowerBound * c
          return blocks[start..<start + 2 * shape.height * columns.count * c].bytes
        }
        let others = (0..<ranks.count).map { rank in
          let rows = strips.rows(rank: rank)
          let length = 2 * columns.count * c
          return spectrum[rows.lowerBound * length..<rows.upperBound * length].bytes
        }
        try ranks.exchange(
          (forward ? own : others).map { UnsafeRawBufferPointer($0) }, forward ? others : own,
          patience: ranks.usualPatience)
      }
    }
  }

  /// Calls `body` for the part of each own row that is of a rank's columns: where it is among rows, and in the rank's block.
  private func eachPart(_ scratch: Scratch, _ body: (_ inRows: Range<Int>, _ inBlocks: Range<Int>) -> Void)
    throws
  {
    let c = 2 * shape.channels
    let parts = (0..<strips.ranks.count).map { strips.ranks.share(of: width, rank: $0) }
    try scratch.pool.split(shape.height, minimum: 16) { own, _ in
      for row in own {
        for part in parts {
          let start = (row * width + part.lowerBound) * c
          let place = (shape.height * part.lowerBound + row * part.count) * c
          body(start..<start + part.count * c, place..<place + part.count * c)
        }
      }
    }
  }

  /// The sum of a function of all frequencies of a channel, those that the half spectrum leaves out included: exact before it is
  /// rounded. `function` is called with this rank's frequencies by their place in a spectrum.
  func sum(_ function: (_ frequency: Int) -> Double) -> Double {
    var sum = ExactSum()
    sum.add(0..<frequencies) { count(of: columns.lowerBound + $0 % columns.count) * function($0) }
    return strips.total(sum)
  }

  /// How many frequencies of a row a column of a spectrum stands for: frequencies that the half spectrum leaves out count
  /// by their mirror images.
  private func count(of column: Int) -> Double { column == 0 || 2 * column == shape.width ? 1 : 2 }

  /// The least and the greatest of a value a frequency.
  func extent(of values: Vector) -> (least: Double, greatest: Double) { strips.extent(of: values.extent()) }

  private typealias Doubles = UnsafeMutablePointer<Double>
  private typealias Lines = UnsafePointer<Doubles?>

  /// Lines that are read alone.
  private static func reading(_ lines: Lines) -> UnsafePointer<UnsafePointer<Double>?> {
    UnsafeRawPointer(lines).assumingMemoryBound(to: UnsafePointer<Double>?.self)
  }

  /// Runs `body` for the rows of all channels and their spectra, several at a time.
  private func lines(
    _ x: Vector, _ spectrum: Vector, _ scratch: Scratch,
    _ body: (_ count: Int, _ x: Lines, _ X: Lines, _ work: Doubles) -> Void
  ) throws {
    let c = shape.channels
    let atOnce = aipo_fft_real_lines(rowPlan.plan)
    let lines = shape.height * c
    try rowPlan.split((lines + atOnce - 1) / atOnce, scratch) { groups, work in
      withUnsafeTemporaryAllocation(of: Doubles?.self, capacity: 2 * atOnce) { pointers in
        let (of, spectra) = (pointers.baseAddress!, pointers.baseAddress! + atOnce)
        for group in groups {
          let first = group * atOnce
          let count = min(atOnce, lines - first)
          for l in 0..<count {
            let (row, channel) = (first + l).quotientAndRemainder(dividingBy: c)
            (of + l).initialize(to: x.base + row * shape.width * c + channel)
            (spectra + l).initialize(to: spectrum.base + 2 * (row * width * c + channel))
          }
          body(count, of, spectra, work)
        }
      }
    }
  }

  private func transformColumns(of spectrum: Vector, backward: Bool, _ scratch: Scratch) throws {
    let stride = columns.count * shape.channels
    guard height > 1, stride > 0 else { return }
    try columnPlan.split(stride, scratch) { range, work in
      aipo_fft_lines(
        columnPlan.plan, backward ? 1 : 0, range.count, 1, stride, spectrum.base + 2 * range.lowerBound, work)
    }
  }
}

/// One length's plan of the C library.
final class Plan: @unchecked Sendable {
  let plan: OpaquePointer

  init(length: Int) throws(TensorError) {
    guard let plan = aipo_fft_make(length) else { throw .outOfMemory(bytes: 16 * length) }
    self.plan = plan
  }

  deinit { aipo_fft_free(plan) }

  /// Splits a number of transforms of this length over the threads, each with a workspace.
  func split(
    _ count: Int, _ scratch: Scratch, _ body: (Range<Int>, _ work: UnsafeMutablePointer<Double>) -> Void
  ) throws {
    let size = aipo_fft_workspace(plan)
    try scratch.scope {
      let work = try scratch.take(size * scratch.pool.threads)
      try scratch.pool.split(count, minimum: 1 + (1 << 15) / size) { range, worker in
        body(range, work.base + worker * size)
      }
    }
  }
}
