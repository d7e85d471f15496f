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
  static let plain: Self? = Self(form: .channel)
  var form: WhiteningForm
  var reach: Int? { form == .dense ? nil : 0 }

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

extension WhiteningKind {
  init(from decoder: any Decoder) throws {
    form = try KnownKeys(decoder, ["form"]).get("form", default: .channel)
  }
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

  func scratchCount(input: ImageShape, _ work: FlowWork) -> ScratchCount {
    let each = scratchCount(input) + 256
    return ScratchCount(first: each, others: each)
  }

  /// Values of scratch memory for a part of a batch.
  private func scratchCount(_ shape: ImageShape) -> Int {
    let own = (2 + imagesAtOnce(shape)) * count
    guard let rotation else { return own }
    let (rows, width) = (rowsAtOnce(shape), rowWidth(shape))
    return own + rows * width * count + rotation.on(height: 1, width: width).workspaceCount + 64
  }

  /// Pixels of a row that is rotated: an image's, or the whole image as one pixel.
  private func rowWidth(_ shape: ImageShape) -> Int { form == .dense ? 1 : shape.width }

  /// As many as fit the cache.
  private func imagesAtOnce(_ shape: ImageShape) -> Int { max(1, 8192 / shape.count) }
  private func rowsAtOnce(_ shape: ImageShape) -> Int { max(1, 8192 / (rowWidth(shape) * count)) }

  public func forward(_ pass: FlowPass<Scalar>) throws {
    try parts(pass) { part in
      part.run(.forward, part.of(pass.values))
      part.eachLogDet { image, pixels, ofPixel in
        pass.logDet[image] += Double(pixels) * ofPixel
        pass.addToCounted(height: pass.shape.height) { _ in Double(pass.shape.width) * ofPixel }
      }
    }
  }

  public func inverse(_ pass: FlowPass<Scalar>) throws {
    try parts(pass) { part in
      part.run(.inverse, part.of(pass.values))
      part.eachLogDet { image, pixels, ofPixel in pass.logDet[image] -= Double(pixels) * ofPixel }
    }
  }

  public func forwardVJP(_ pass: FlowPass<Scalar>) throws { try back(pass, .forward) }
  public func inverseVJP(_ pass: FlowPass<Scalar>) throws { try back(pass, .inverse) }

  /// The matrix is symmetric, and the log-determinant no function of x.
  private func back(_ pass: FlowPass<Scalar>, _ direction: Kernel<Scalar>.Direction) throws {
    try parts(pass) { part in
      part.scale(direction, part.of(pass.cotangent))
      if pass.carriesValues { part.run(direction.opposite, part.of(pass.values)) }
    }
  }

  private func parts(_ pass: FlowPass<Scalar>, _ body: (Part) -> Void) throws {
    let size = pass.shape.count
    let together = imagesAtOnce(pass.shape)
    try pass.pool.split(pass.count, minimum: max(1, 16384 / (size * (rotation == nil ? 1 : count)))) {
      images, worker in
      let workspace = pass.workspaces[worker]
      for start in stride(from: images.lowerBound, to: images.upperBound, by: together) {
        try workspace.scope {
          body(
            Part(
              self, start..<min(start + together, images.upperBound), pass,
              try workspace.take(scratchCount(pass.shape))))
        }
      }
    }
  }

  /// The whitening of some images of a batch.
  private struct Part {
    private let layer: Whitening
    private let images: Range<Int>
    private let shape: ImageShape
    /// Whether `logScales` holds one for all images.
    private let isShared: Bool
    /// −μ
    private let shift: Memory<Scalar>
    private let zero: Memory<Scalar>
    /// −½ log(v + s²), of each image or of all.
    private let logScales: Memory<Scalar>
    /// Rows of the images.
    private let rotated: Memory<Scalar>
    private let scratch: Memory<Scalar>

    init(_ layer: Whitening, _ images: Range<Int>, _ pass: FlowPass<Scalar>, _ memory: Memory<Scalar>) {
      let n = layer.count
      self.layer = layer
      self.images = images
      shape = pass.shape
      isShared = pass.hasOneNoiseLevel
      (shift, zero) = (memory[0..<n], memory[n..<2 * n])
      let own = (2 + layer.imagesAtOnce(shape)) * n
      logScales = memory[2 * n..<own]
      let rows = layer.rotation == nil ? 0 : layer.rowsAtOnce(shape) * layer.rowWidth(shape) * n
      (rotated, scratch) = (memory[own..<own + rows], memory.from(own + rows))
      for k in 0..<n { (shift[k], zero[k]) = (-layer.mean.values[k], 0) }
      for (i, image) in images.enumerated() where i == 0 || !isShared {
        let s = pass.noise[image]
        for k in 0..<n {
          logScales[i * n + k] = Scalar(-0.5 * log(Double(layer.variance.values[k]) + s * s))
        }
      }
    }

    /// The part's images of all.
    func of(_ values: Memory<Scalar>) -> Memory<Scalar> {
      values[images.lowerBound * shape.count..<images.upperBound * shape.count]
    }

    /// Of the part's i-th image.
    private func logScale(_ i: Int) -> Memory<Scalar> {
      let n = layer.count
      return isShared ? logScales[0..<n] : logScales[i * n..<(i + 1) * n]
    }

    /// Of each image: the log-determinant of one pixel, or of the whole as one.
    func eachLogDet(_ body: (_ image: Int, _ pixels: Int, _ ofPixel: Double) -> Void) {
      var sum = 0.0
      for (i, image) in images.enumerated() {
        if i == 0 || !isShared {
          let scale = logScale(i)
          sum = 0
          for k in 0..<layer.count { sum += Double(scale[k]) }
        }
        body(image, shape.count / layer.count, sum)
      }
    }

    /// There: less the mean, and scaled; back: scaled, and the mean.
    func run(_ direction: Kernel<Scalar>.Direction, _ x: Memory<Scalar>) {
      if direction == .forward { Kernel.actnorm(x, .forward, bias: shift, logScale: zero) }
      scale(direction, x)
      if direction == .inverse { Kernel.actnorm(x, .inverse, bias: shift, logScale: zero) }
    }

    /// `x ← (C + s²I)^(∓1/2) x`
    func scale(_ direction: Kernel<Scalar>.Direction, _ x: Memory<Scalar>) {
      let n = layer.count
      let width = layer.rowWidth(shape)
      guard let rotation = layer.rotation?.on(height: 1, width: width) else {
        return scaleRows(direction, x, 0, length: shape.count, ofImage: 1)
      }
      let (length, most) = (width * n, layer.rowsAtOnce(shape))
      let rows = x.count / length
      for first in stride(from: 0, to: rows, by: most) {
        let count = min(most, rows - first)
        let row = x[first * length..<(first + count) * length]
        let turned = rotated[0..<count * length]
        rotation.forward(
          rows: 0..<count, x: row, stride: n, bias: nil, epilogue: [], y: turned, stride: n, scratch: scratch)
        scaleRows(direction, turned, first, length: length, ofImage: shape.count / length)
        rotation.adjoint(
          rows: 0..<count, cotangent: turned, stride: n, epilogue: [], mask: nil, into: row, stride: n,
          scratch: scratch)
      }
    }

    /// Scales rows from number `first` on by the scales of the images whose rows they are.
    private func scaleRows(
      _ direction: Kernel<Scalar>.Direction, _ x: Memory<Scalar>, _ first: Int, length: Int,
      ofImage rows: Int
    ) {
      guard !isShared else { return Kernel.actnorm(x, direction, bias: zero, logScale: logScale(0)) }
      for row in 0..<x.count / length {
        Kernel.actnorm(
          x[row * length..<(row + 1) * length], direction, bias: zero,
          logScale: logScale((first + row) / rows))
      }
    }
  }
}
