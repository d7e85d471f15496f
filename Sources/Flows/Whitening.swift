import AIPOKernels
import AIPOPlatform

/// What of the images' covariance C a whitening knows.
public enum WhiteningForm: String, Codable, Sendable, CaseIterable {
  /// The variance of each channel, C = diag(v).
  case channel
  /// The covariance of a pixel's channels, the same at every pixel. Behind squeezes, which make channels of a block's
  /// pixels, it is the covariance of a block.
  case pixel
  /// All of it, by its eigenvectors: for images of one size, of `ImageStatistics.fullLimit` values at most.
  case dense
}

/// A whitening in a flow as data. It is the first layer; one of pixels may stand behind squeezes, which keep noise white.
struct WhiteningKind: LayerKind {
  static let name = "whitening"
  var form: WhiteningForm

  func output(for input: ImageShape) throws(FlowError) -> ImageShape {
    guard form == .channel || form.count(input) <= ImageStatistics.fullLimit else {
      throw .unsupportedShape(
        input, reason: "a \(form) whitening takes \(ImageStatistics.fullLimit) values at most")
    }
    return input
  }

  func multiplyAdds(for input: ImageShape) -> Int {
    form == .channel ? 0 : 2 * input.channels * form.count(input)
  }

  func makeLayer<Scalar: KernelScalar>(
    for input: ImageShape, in flow: FlowSpec, _: Scalar.Type
  ) throws -> any FlowLayer<Scalar> { try Whitening<Scalar>(form, input: input) }
}

extension WhiteningForm {
  /// Values that have a mean and a variance each: an image's, or its channels'.
  func count(_ image: ImageShape) -> Int { self == .dense ? image.count : image.channels }
}

/// The exact whitening of Gaussian images with noise, `y = (C + s²I)^(−1/2) (x − μ)`, log-det `−½ log det(C + s²I)`.
///
/// μ and C are the images', found before the training, which doesn't move them. If x ~ N(μ, C) then y ~ N(0, I) for the
/// noisy image at any s; and for any images, y tends to N(0, I) as s grows. So what is left to learn vanishes.
public final class Whitening<Scalar: KernelScalar>: FlowLayer, KeepingLayer {
  private let form: WhiteningForm
  private let count: Int
  private let mean: LayerParameter<Scalar>
  /// Eigenvalues of C.
  private let variance: LayerParameter<Scalar>
  /// Eigenvectors of C in the columns, `[count, count]`.
  private let basis: LayerParameter<Scalar>?
  /// `Qᵀx` as a convolution; its adjoint is `Qx`.
  private let rotation: ConvolutionWeights<Scalar>?

  /// A whitening of images of one shape that takes their mean for 0 and their covariance for I, until `take`.
  public init(_ form: WhiteningForm, input: ImageShape) throws {
    self.form = form
    let count = form.count(input)
    self.count = count
    mean = LayerParameter("mean", shape: [count], isTrainable: false) { _ in
      [Double](repeating: 0, count: count)
    }
    variance = LayerParameter("variance", shape: [count], isTrainable: false) { _ in
      [Double](repeating: 1, count: count)
    }
    if form != .channel {
      basis = LayerParameter("basis", shape: [count, count], isTrainable: false) { _ in
        (0..<count * count).map { $0 % (count + 1) == 0 ? 1 : 0 }
      }
      rotation = try ConvolutionWeights(inChannels: count, outChannels: count, kernel: 1)
    } else {
      (basis, rotation) = (nil, nil)
    }
  }

  public var parameters: [LayerParameter<Scalar>] { [mean, variance] + (basis.map { [$0] } ?? []) }

  public func output(for input: ImageShape) throws -> ImageShape {
    guard form.count(input) == count else {
      throw FlowError.unsupportedShape(input, reason: "its whitening is of \(count) values")
    }
    return input
  }

  public func refresh() throws {
    for k in 0..<count where !(variance.values[k] >= 0) {
      throw FlowError.unusableParameters(name: variance.name, reason: "it holds a negative value")
    }
    if let basis { rotation?.pack(basis.values) }
  }

  /// Takes μ and C from the statistics of images of a shape.
  func take(_ statistics: ImageStatistics, of image: ImageShape) throws {
    switch form {
    case .channel:
      for (c, moments) in statistics.channelMoments(count).enumerated() {
        mean.values[c] = Scalar(moments.mean)
        variance.values[c] = Scalar(moments.variance)
      }
    case .pixel:
      let moments = try statistics.blockMoments(SqueezedPixel(of: count, in: image), image)
      try take(mean: moments.mean, covariance: moments.covariance)
    case .dense:
      guard let covariance = try statistics.matrix() else {
        preconditionFailure("images of \(count) values have a full covariance")
      }
      try take(mean: statistics.mean.map { Double($0) }, covariance: covariance)
    }
    try refresh()
  }

  private func take(mean: [Double], covariance: Matrix) throws {
    let (values, vectors) = try covariance.symmetricEigen()
    self.mean.values.copy(from: mean.map { Scalar($0) })
    variance.values.copy(from: values.map { Scalar(max($0, 0)) })
    for i in 0..<count { for k in 0..<count { basis!.values[i * count + k] = Scalar(vectors[i, k]) } }
  }

  // MARK: Passes

  func keptCount(_ kept: GradientMemory.Kept, input: ImageShape, parameterGradients: Bool) -> Int { 0 }

  func scratchCount(input: ImageShape, _ work: FlowWork) -> Int {
    work.threads * (scratchCount(width: input.width) + 256)
  }

  /// Values of scratch memory for an image.
  private func scratchCount(width: Int) -> Int {
    guard let rotation else { return 3 * count }
    let width = rowWidth(width)
    return (3 + width) * count + rotation.on(height: 1, width: width).workspaceCount + 64
  }

  /// Pixels that are rotated at once: a row, or the whole image as one pixel.
  private func rowWidth(_ width: Int) -> Int { form == .dense ? 1 : width }

  public func forward(_ pass: FlowPass<Scalar>) throws {
    try each(pass) { image, whitener in
      whitener.run(.forward, pass.values[image])
      pass.logDet[whitener.image] += whitener.logDet
    }
  }

  public func inverse(_ pass: FlowPass<Scalar>) throws {
    try each(pass) { image, whitener in
      whitener.run(.inverse, pass.values[image])
      pass.logDet[whitener.image] -= whitener.logDet
    }
  }

  public func forwardVJP(_ pass: FlowPass<Scalar>) throws { try back(pass, .forward) }
  public func inverseVJP(_ pass: FlowPass<Scalar>) throws { try back(pass, .inverse) }

  /// The matrix is symmetric, and the log-determinant no function of x.
  private func back(_ pass: FlowPass<Scalar>, _ direction: Kernel<Scalar>.Direction) throws {
    try each(pass) { image, whitener in
      whitener.scale(direction, pass.cotangent[image])
      if pass.carriesValues { whitener.run(direction.opposite, pass.values[image]) }
    }
  }

  private func each(_ pass: FlowPass<Scalar>, _ body: (_ image: Range<Int>, _ whitener: Whitener) -> Void)
    throws
  {
    let size = pass.shape.count
    try pass.pool.split(pass.count, minimum: max(1, 16384 / (size * (rotation == nil ? 1 : count)))) {
      images, worker in
      let workspace = pass.workspaces[worker]
      try workspace.scope {
        let scratch = try workspace.take(scratchCount(width: pass.shape.width))
        for image in images {
          body(
            image * size..<(image + 1) * size,
            Whitener(self, image: image, noise: pass.noise[image], shape: pass.shape, scratch))
        }
      }
    }
  }

  /// The whitening of one image.
  private struct Whitener {
    let layer: Whitening
    let image: Int
    let logDet: Double
    /// −μ
    private let shift: Memory<Scalar>
    /// −½ log(v + s²)
    private let logScale: Memory<Scalar>
    private let zero: Memory<Scalar>
    private let rotation: Convolution<Scalar>?
    /// A row of the image.
    private let rotated: Memory<Scalar>
    private let scratch: Memory<Scalar>

    init(_ layer: Whitening, image: Int, noise s: Double, shape: ImageShape, _ memory: Memory<Scalar>) {
      let n = layer.count
      let width = layer.rowWidth(shape.width)
      self.layer = layer
      self.image = image
      (shift, logScale) = (memory[0..<n], memory[n..<2 * n])
      zero = memory[2 * n..<3 * n]
      rotation = layer.rotation?.on(height: 1, width: width)
      rotated = layer.rotation == nil ? zero : memory[3 * n..<(3 + width) * n]
      scratch = memory.from(3 * n + (layer.rotation == nil ? 0 : width * n))
      var sum = 0.0
      for k in 0..<n {
        shift[k] = -layer.mean.values[k]
        logScale[k] = Scalar(-0.5 * log(Double(layer.variance.values[k]) + s * s))
        zero[k] = 0
        sum += Double(logScale[k])
      }
      logDet = Double(shape.count / n) * sum
    }

    /// There: less the mean, and scaled; back: scaled, and the mean.
    func run(_ direction: Kernel<Scalar>.Direction, _ x: Memory<Scalar>) {
      guard rotation != nil else { return Kernel.actnorm(x, direction, bias: shift, logScale: logScale) }
      if direction == .forward { Kernel.actnorm(x, .forward, bias: shift, logScale: zero) }
      scale(direction, x)
      if direction == .inverse { Kernel.actnorm(x, .inverse, bias: shift, logScale: zero) }
    }

    /// `x ← (C + s²I)^(∓1/2) x`
    func scale(_ direction: Kernel<Scalar>.Direction, _ x: Memory<Scalar>) {
      guard let rotation else { return Kernel.actnorm(x, direction, bias: zero, logScale: logScale) }
      let n = layer.count
      for start in stride(from: 0, to: x.count, by: rotated.count) {
        let row = x[start..<start + rotated.count]
        rotation.forward(
          rows: 0..<1, x: row, stride: n, bias: nil, epilogue: [], y: rotated, stride: n, scratch: scratch)
        Kernel.actnorm(rotated, direction, bias: zero, logScale: logScale)
        rotation.adjoint(
          rows: 0..<1, cotangent: rotated, stride: n, epilogue: [], mask: nil, into: row, stride: n,
          scratch: scratch)
      }
    }
  }
}
