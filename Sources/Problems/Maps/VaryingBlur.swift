import AIPOKernels
import AIPOPriors

/// A blur that differs from place to place: a grid of kernels, of which every pixel has the mean of the four around it, by
/// weights that change linearly between the grid's points (bilinear; beyond the outermost points constant). Where R × C kernels
/// are given, kernel (r, c) is that of the middle of part (r, c) of the image, cut into R × C equal parts.
///
///     of the measured pixel:  f(x) = Σ_k w_k ∘ (k_k ⋆ x)      (convolution, then product)
///     of the image's pixel:   f(x) = Σ_k k_k ⋆ (w_k ∘ x)      (product, then convolution)
///
/// The first says from where a measured pixel gathers, the second where a point's light goes. (P. Escande & P. Weiss, *Sparse
/// wavelet representations of spatially varying blurring operators*, 2015; L. Denis et al., *Fast approximations of
/// shift-variant blur*, 2015)
public struct VaryingBlur: LinearMap {
  /// What a kernel is a property of.
  public enum Order: String, CaseIterable, Sendable {
    /// The measured pixel, which gathers by it.
    case measurement
    /// The image's pixel, which is spread by it.
    case image
  }

  public let input: ImageShape
  public let output: ImageShape
  public let order: Order
  public let nearNormal: Spectrum?
  private let blurs: [ConvolutionMap]
  /// The weights of grid rows and columns, `[points, pixels of a line]`.
  private let rowWeights: Tensor<Double>
  private let columnWeights: Tensor<Double>

  /// `kernels`: R × C of them, row by row.
  ///
  /// Throws where they aren't so many, or the boundary is `valid` and they are of several sizes.
  public init(
    _ shape: ImageShape, kernels: [BlurKernel], rows: Int, columns: Int, order: Order = .measurement,
    boundary: Boundary = .reflect, _ scratch: Scratch = Scratch()
  ) throws {
    guard rows > 0, columns > 0, kernels.count == rows * columns else {
      throw ProblemError.shapeMismatch(
        what: "grid of kernels", found: [kernels.count], expected: [rows, columns])
    }
    let blurs = try kernels.map { try ConvolutionMap(shape, kernel: $0, boundary: boundary, scratch) }
    let output = blurs[0].output
    for blur in blurs where blur.output != output {
      throw ProblemError.shapeMismatch(
        what: "kernel of a grid with boundary valid", found: [blur.kernel.height, blur.kernel.width],
        expected: [blurs[0].kernel.height, blurs[0].kernel.width])
    }
    (input, self.output, self.order, self.blurs) = (shape, output, order, blurs)
    let weighted = order == .measurement ? output : shape
    rowWeights = try Self.weights(weighted.height, points: rows)
    columnWeights = try Self.weights(weighted.width, points: columns)
    // By the mean of the kernels' own.
    let spectra = blurs.compactMap(\.nearNormal)
    var mean = spectra[0].values
    mean.withMemory { mean in
      for spectrum in spectra.dropFirst() { mean.add(spectrum.values.view) }
      mean.scale(by: 1 / Double(spectra.count))
    }
    nearNormal = Spectrum(spectra[0].transform, values: mean)
  }

  /// Of each of the points, at the middles of equal parts, the weight at every one of n pixels. They sum to 1.
  private static func weights(_ n: Int, points: Int) throws(TensorError) -> Tensor<Double> {
    try Tensor(
      shape: [points, n],
      elements: (0..<points * n).map { k in
        let place = (Double(k % n) + 0.5) * Double(points) / Double(n) - 0.5
        let held = min(max(place, 0), Double(points - 1))
        return max(0, 1 - (held - Double(k / n)).magnitude)
      })
  }

  /// `y ← w_k ∘ x`
  private func weigh(_ x: Vector, by k: Int, into y: Vector, _ shape: ImageShape, _ scratch: Scratch) throws {
    let columns = columnWeights.shape[0]
    let (row, column) = (rowWeights.row(k / columns), columnWeights.row(k % columns))
    let (w, c) = (shape.width, shape.channels)
    try scratch.pool.split(shape.height, minimum: 1 + (1 << 14) / max(w * c, 1)) { range, _ in
      for i in range {
        for j in 0..<w {
          let weight = row[i] * column[j]
          for place in (i * w + j) * c..<(i * w + j + 1) * c { y[place] = weight * x[place] }
        }
      }
    }
  }

  public func apply(_ x: Vector, into y: Vector, _ scratch: Scratch) throws {
    precondition(x.count == input.count && y.count == output.count)
    try sum(x, into: y, weighsFirst: order == .image, scratch) { try $0.apply($1, into: $2, scratch) }
  }

  public func adjoint(_ u: Vector, into x: Vector, _ scratch: Scratch) throws {
    precondition(u.count == output.count && x.count == input.count)
    try sum(u, into: x, weighsFirst: order == .measurement, scratch) { try $0.adjoint($1, into: $2, scratch) }
  }

  private func sum(
    _ x: Vector, into y: Vector, weighsFirst: Bool, _ scratch: Scratch,
    _ blur: (ConvolutionMap, _ from: Vector, _ to: Vector) throws -> Void
  ) throws {
    let shape = order == .image ? input : output
    try scratch.scope {
      let weighted = try scratch.take(weighsFirst ? x.count : y.count)
      let blurred = try scratch.take(y.count)
      y.set(0, scratch.pool)
      for (k, map) in blurs.enumerated() {
        if weighsFirst {
          try weigh(x, by: k, into: weighted, shape, scratch)
          try blur(map, weighted, blurred)
          y.add(blurred, scratch.pool)
        } else {
          try blur(map, x, blurred)
          try weigh(blurred, by: k, into: weighted, shape, scratch)
          y.add(weighted, scratch.pool)
        }
      }
    }
  }
}
