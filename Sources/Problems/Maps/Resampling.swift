import AIPOKernels
import AIPOPlatform
import AIPOPriors

/// The weights by which pixels around the middle of an output pixel are summed up, in rows and columns alike.
public enum ResamplingKernel: Hashable, Sendable {
  /// The mean of k × k pixels.
  case box
  /// A triangle over 2k pixels.
  case bilinear
  /// Keys' cubic of a = −½ over 4k pixels: MATLAB's imresize with antialiasing.
  case bicubic
  /// A Gaussian of this deviation in pixels of the large image, at distances up to four times that, rounded.
  case gaussian(deviation: Double)

  /// The distances and weights of the pixels around a middle that lies `shift` behind a pixel, for a factor k. They sum
  /// to 1.
  func weights(factor k: Int, shift: Double) throws(ProblemError) -> [(offset: Int, weight: Double)] {
    let continuous: (support: Double, density: (Double) -> Double)
    switch self {
    case .gaussian(let deviation):
      return try BlurKernel.gaussianLine(deviation, shift: -shift).map {
        (offset: Int(($0.offset + shift).rounded()), weight: $0.weight)
      }
    case .box: continuous = (0.5, { $0 >= -0.5 && $0 < 0.5 ? 1 : 0 })
    case .bilinear: continuous = (1, { max(0, 1 - $0.magnitude) })
    case .bicubic:
      continuous = (
        2,
        {
          let t = $0.magnitude
          return t <= 1
            ? (1.5 * t - 2.5) * t * t + 1 : t < 2 ? ((-0.5 * t + 2.5) * t - 4) * t + 2 : 0
        }
      )
    }
    let reach = Int((continuous.support * Double(k)).rounded(.up)) + 1
    let all = (-reach...reach).map {
      (offset: $0, weight: continuous.density((shift - Double($0)) / Double(k)))
    }
    .filter { $0.weight != 0 }
    let sum = all.reduce(0) { $0 + $1.weight }
    return all.map { ($0.offset, $0.weight / sum) }
  }
}

/// `f(x)` makes an image k times smaller: a sum of pixels with weights around every k-th place, super-resolution's map.
///
/// Output pixel i has its middle at `k·i + phase` in rows and columns of the large image, pixels at whole numbers from 0; there
/// are ⌈n/k⌉ of them along a side of n. By default the phase is (k − 1)/2, the middle of a block of k × k pixels, as MATLAB's
/// imresize and scikit-image have it. Phase 0 with a Gaussian is blurring, and then every k-th pixel from the first.
public struct Resampling: LinearMap {
  public let input: ImageShape
  public let output: ImageShape
  public let factor: Int
  public let nearNormal: Spectrum?
  private let rows: LineSums
  private let columns: LineSums
  private let back: (rows: LineSums, columns: LineSums)

  public static let factors = 1...64

  public init(
    _ shape: ImageShape, factor k: Int, kernel: ResamplingKernel = .bicubic, phase: Double? = nil,
    boundary: Boundary = .reflect, _ scratch: Scratch = Scratch()
  ) throws {
    precondition(shape.count > 0, "no resampling of \(shape)")
    try requireParameter(
      "the scale", Double(k), in: Double(Self.factors.lowerBound)...Double(Self.factors.upperBound))
    let phase = phase ?? Double(k - 1) / 2
    try requireParameter("the phase", phase, in: -1000...1000)
    (input, factor) = (shape, k)
    let base = phase.rounded(.down)
    let weights = try kernel.weights(factor: k, shift: phase - base).map {
      (offset: $0.offset + Int(base), weight: $0.weight)
    }
    rows = LineSums(shape.height, factor: k, weights, boundary)
    columns = LineSums(shape.width, factor: k, weights, boundary)
    back = (rows.transposed, columns.transposed)
    output = ImageShape(height: rows.outputs, width: columns.outputs, channels: shape.channels)
    // A share of 1/k² of the pixels is kept.
    let first = weights[0].offset
    let line = (first...weights[weights.count - 1].offset).map { o in
      weights.first { $0.offset == o }?.weight ?? 0
    }
    nearNormal = try CircularCorrelation(
      shape, kernel: line.flatMap { a in line.map { a * $0 } }, rows: line.count, columns: line.count,
      top: -first,
      left: -first, scratch
    ).normal(times: 1 / Double(k * k))
  }

  public func apply(_ x: Vector, into y: Vector, _ scratch: Scratch) throws {
    precondition(x.count == input.count && y.count == output.count)
    let (c, w) = (input.channels, input.width)
    try scratch.scope {
      let between = try scratch.take(output.height * w * c)
      try rows.sumRows(of: x, into: between, rowLength: w * c, scratch)
      try columns.sumColumns(of: between, into: y, rows: output.height, channels: c, scratch)
    }
  }

  public func adjoint(_ u: Vector, into x: Vector, _ scratch: Scratch) throws {
    precondition(u.count == output.count && x.count == input.count)
    let (c, w) = (input.channels, input.width)
    try scratch.scope {
      let between = try scratch.take(output.height * w * c)
      try back.columns.sumColumns(of: u, into: between, rows: output.height, channels: c, scratch)
      try back.rows.sumRows(of: between, into: x, rowLength: w * c, scratch)
    }
  }
}

/// A sparse matrix along a line: every output is a sum of some values with weights.
private struct LineSums: Sendable {
  let inputs: Int
  /// Where the terms of each output begin, and the end of the last.
  let starts: [Int]
  let sources: [Int]
  let weights: [Double]

  var outputs: Int { starts.count - 1 }

  init(_ terms: [[(source: Int, weight: Double)]], inputs: Int) {
    self.inputs = inputs
    starts = terms.reduce(into: [0]) { $0.append($0[$0.count - 1] + $1.count) }
    sources = terms.flatMap { $0.map(\.source) }
    weights = terms.flatMap { $0.map(\.weight) }
  }

  /// Sums of rows.
  func sumRows(of x: Vector, into y: Vector, rowLength n: Int, _ scratch: Scratch) throws {
    try scratch.pool.split(outputs, minimum: 1 + (1 << 12) / n) { range, _ in
      for i in range {
        let row = y[i * n..<(i + 1) * n]
        row.set(0)
        for k in starts[i]..<starts[i + 1] {
          row.add(x[sources[k] * n..<(sources[k] + 1) * n], times: weights[k])
        }
      }
    }
  }

  /// Sums of columns, `[rows, inputs, c]` to `[rows, outputs, c]`.
  func sumColumns(of x: Vector, into y: Vector, rows: Int, channels c: Int, _ scratch: Scratch) throws {
    try scratch.pool.split(rows, minimum: 1 + (1 << 12) / inputs) { range, _ in
      for row in range {
        let line = x[row * inputs * c..<(row + 1) * inputs * c]
        let result = y[row * outputs * c..<(row + 1) * outputs * c]
        line.withUnsafeMutableBufferPointer { line in
          result.withUnsafeMutableBufferPointer { result in
            for i in 0..<outputs {
              for channel in 0..<c {
                var sum = 0.0
                for k in starts[i]..<starts[i + 1] { sum += weights[k] * line[sources[k] * c + channel] }
                result[i * c + channel] = sum
              }
            }
          }
        }
      }
    }
  }
}

extension LineSums {
  /// Output i sums the values at `k·i + offset`.
  init(_ count: Int, factor k: Int, _ weights: [(offset: Int, weight: Double)], _ boundary: Boundary) {
    self.init(
      (0..<(count + k - 1) / k).map { i in
        weights.compactMap { offset, weight in
          boundary.source(k * i + offset, count).map { (source: $0, weight: weight) }
        }
      }, inputs: count)
  }

  var transposed: LineSums {
    var terms = [[(source: Int, weight: Double)]](repeating: [], count: inputs)
    for i in 0..<outputs {
      for k in starts[i]..<starts[i + 1] { terms[sources[k]].append((i, weights[k])) }
    }
    return LineSums(terms, inputs: outputs)
  }
}
