import AIPOKernels
import AIPOPlatform
import AIPOPriors

/// `f(x)` correlates an image with a kernel, each channel by itself (`BlurKernel` says in which order): deblurring.
///
/// Three ways lead to the same values to rounding, and the cheapest is taken: sums over all weights, over the column and
/// the row that the kernel is a product of, and by Fourier transforms.
public struct ConvolutionMap: LinearMap {
  /// How the sums are made.
  public enum Path: Sendable { case direct, separable, fourier }

  public let input: ImageShape
  public let output: ImageShape
  public let kernel: BlurKernel
  public let boundary: Boundary
  public let path: Path
  public let normal: NormalForm
  public let nearNormal: Spectrum?
  private let rows: ExtendedLine
  private let columns: ExtendedLine
  /// Around the image itself, or around the extended one.
  private let circular: CircularCorrelation?

  /// - Parameter path: nil for the cheapest.
  ///
  /// Throws where the boundary is `valid` and the kernel larger than the image, and where there is no memory.
  public init(
    _ shape: ImageShape, kernel: BlurKernel, boundary: Boundary = .reflect, path: Path? = nil,
    _ scratch: Scratch = Scratch()
  ) throws {
    precondition(shape.count > 0, "no convolution of \(shape)")
    input = shape
    self.kernel = kernel
    self.boundary = boundary
    let isValid = boundary == .valid
    if isValid, kernel.height > shape.height || kernel.width > shape.width {
      throw ProblemError.shapeMismatch(
        what: "kernel with boundary valid", found: [kernel.height, kernel.width],
        expected: [shape.height, shape.width])
    }
    output =
      isValid
      ? ImageShape(
        height: shape.height - kernel.height + 1, width: shape.width - kernel.width + 1,
        channels: shape.channels)
      : shape
    func line(_ n: Int, _ weights: Int, _ center: Int) -> ExtendedLine {
      ExtendedLine(
        n, before: isValid ? 0 : center, after: isValid ? 0 : weights - 1 - center, boundary)
    }
    rows = line(shape.height, kernel.height, kernel.top)
    columns = line(shape.width, kernel.width, kernel.left)
    let around = try CircularCorrelation(
      shape, kernel: kernel.values, rows: kernel.height, columns: kernel.width, top: kernel.top,
      left: kernel.left, scratch)
    let near = try around.normal()
    normal = boundary == .circular ? .stationary(near) : .unknown
    nearNormal = near
    let size =
      boundary == .circular
      ? (shape.height, shape.width)
      : (FourierTransform.fastLength(rows.extended), FourierTransform.fastLength(columns.extended))
    self.path =
      path == .separable && kernel.factors == nil ? .direct : path ?? Self.cheapest(kernel, output, size)
    circular =
      self.path != .fourier
      ? nil
      : boundary == .circular
        ? around
        : try CircularCorrelation(
          ImageShape(height: size.0, width: size.1, channels: shape.channels), kernel: kernel.values,
          rows: kernel.height, columns: kernel.width, top: 0, left: 0, scratch)
  }

  /// By the time of a weight at a value, about the same for both sums, and of the transforms.
  private static func cheapest(_ kernel: BlurKernel, _ output: ImageShape, _ size: (Int, Int)) -> Path {
    let values = Double(output.height * output.width)
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
      if let circular {
        let padded = try scratch.take(circular.shape.count)
        let rowLength = circular.shape.width * c
        try extend(x, into: padded, rowLength: rowLength, scratch)
        try circular.apply(padded, into: padded, scratch)
        let length = output.width * c
        try scratch.pool.split(output.height, minimum: 64) { range, _ in
          for i in range {
            y[i * length..<(i + 1) * length].set(padded[i * rowLength..<i * rowLength + length])
          }
        }
        return
      }
      let rowLength = columns.extended * c
      let extended = try scratch.take(rows.extended * rowLength)
      try extend(x, into: extended, rowLength: rowLength, scratch)
      let length = output.width * c
      guard path == .separable, let (column, row) = kernel.factors else {
        return try sumRows(output.height, into: y, length, scratch) { i, sum in
          for a in 0..<kernel.height {
            for b in 0..<kernel.width {
              sum(kernel.values[a * kernel.width + b], extended, (i + a) * rowLength + b * c)
            }
          }
        }
      }
      let between = try scratch.take(rows.extended * length)
      try sumRows(rows.extended, into: between, length, scratch) { i, sum in
        for (b, weight) in row.enumerated() { sum(weight, extended, i * rowLength + b * c) }
      }
      try sumRows(output.height, into: y, length, scratch) { i, sum in
        for (a, weight) in column.enumerated() { sum(weight, between, (i + a) * length) }
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
        padded.set(0, scratch.pool)
        for i in 0..<output.height {
          padded[i * rowLength..<i * rowLength + length].set(u[i * length..<(i + 1) * length])
        }
        try circular.adjoint(padded, into: padded, scratch)
        return try fold(padded, rowLength: rowLength, into: x, scratch)
      }
      let rowLength = columns.extended * c
      let extended = try scratch.take(rows.extended * rowLength)
      /// The rows of u that a row of the extended image went into, with the kernel's row.
      func seen(_ r: Int, _ body: (_ a: Int, _ i: Int) -> Void) {
        for a in max(0, r - output.height + 1)..<min(kernel.height, r + 1) { body(a, r - a) }
      }
      if path == .separable, let (column, row) = kernel.factors {
        let between = try scratch.take(rows.extended * length)
        try sumRows(rows.extended, into: between, length, scratch) { r, sum in
          seen(r) { a, i in sum(column[a], u, i * length) }
        }
        try scatterRows(into: extended, rowLength, scratch) { r, add in
          for (b, weight) in row.enumerated() { add(weight, between, r * length, b * c, length) }
        }
      } else {
        try scatterRows(into: extended, rowLength, scratch) { r, add in
          seen(r) { a, i in
            for b in 0..<kernel.width {
              add(kernel.values[a * kernel.width + b], u, i * length, b * c, length)
            }
          }
        }
      }
      try fold(extended, rowLength: rowLength, into: x, scratch)
    }
  }

  // MARK: Parts

  /// Fills rows of y with sums of stretches of other arrays.
  private func sumRows(
    _ rows: Int, into y: Vector, _ length: Int, _ scratch: Scratch,
    _ body: (_ row: Int, _ sum: (_ weight: Double, _ of: Vector, _ from: Int) -> Void) -> Void
  ) throws {
    try scratch.pool.split(rows, minimum: 1 + (1 << 12) / length) { range, _ in
      for i in range {
        let row = y[i * length..<(i + 1) * length]
        row.set(0)
        body(i) { weight, source, from in
          if weight != 0 { row.add(source[from..<from + length], times: weight) }
        }
      }
    }
  }

  /// Fills the rows of the extended image with sums of rows that go to a part of them.
  private func scatterRows(
    into extended: Vector, _ rowLength: Int, _ scratch: Scratch,
    _ body: (
      _ row: Int, _ add: (_ weight: Double, _ of: Vector, _ from: Int, _ to: Int, _ length: Int) -> Void
    ) -> Void
  ) throws {
    try scratch.pool.split(rows.extended, minimum: 1 + (1 << 12) / rowLength) { range, _ in
      for r in range {
        let row = extended[r * rowLength..<(r + 1) * rowLength]
        row.set(0)
        body(r) { weight, source, from, to, length in
          if weight != 0 { row[to..<to + length].add(source[from..<from + length], times: weight) }
        }
      }
    }
  }

  /// Writes the extended image into rows of a longer length; what is beyond it is 0.
  private func extend(_ x: Vector, into y: Vector, rowLength: Int, _ scratch: Scratch) throws {
    let c = input.channels
    y.set(0, scratch.pool)
    try scratch.pool.split(input.height, minimum: 16) { range, _ in
      for source in range {
        let line = x[source * columns.count * c..<(source + 1) * columns.count * c]
        for place in rows.places[source] {
          let row = y[place * rowLength..<(place + 1) * rowLength]
          row[columns.before * c..<(columns.before + columns.count) * c].set(line)
          for (end, own) in columns.ends {
            for k in 0..<c { row[end * c + k] = line[own * c + k] }
          }
        }
      }
    }
  }

  /// The adjoint of `extend`.
  private func fold(_ y: Vector, rowLength: Int, into x: Vector, _ scratch: Scratch) throws {
    let c = input.channels
    try scratch.pool.split(input.height, minimum: 16) { range, _ in
      for source in range {
        let line = x[source * columns.count * c..<(source + 1) * columns.count * c]
        line.set(0)
        for place in rows.places[source] {
          let row = y[place * rowLength..<(place + 1) * rowLength]
          line.add(row[columns.before * c..<(columns.before + columns.count) * c])
          for (end, own) in columns.ends {
            for k in 0..<c { line[own * c + k] += row[end * c + k] }
          }
        }
      }
    }
  }
}
