import AIPOKernels
import AIPOPlatform

/// What a flow knows beside the image: the noise level s ≥ 0, an image each.
///
/// Such a flow is a family of densities, `p_s` that of `x + s·n` with x an image and n ~ N(0, I). It is trained for s
/// from `least` to `greatest`, log-uniform. A smaller s counts as `least`, s = 0 among them: p_0 is as sharp as the
/// training made it. Of a larger s than `greatest` a whitening takes note, and the nets don't.
public struct Condition: Hashable, Sendable {
  public var least: Double
  public var greatest: Double

  public init(least: Double = 0.005, greatest: Double = 0.5) {
    self.least = least
    self.greatest = greatest
  }

  func check() throws(FlowError) {
    guard least > 0, greatest > least, greatest.isFinite else {
      throw .invalidSpec(
        "condition: noise from \(least) to \(greatest), expected 0 < least < greatest")
    }
  }

  /// The level that a flow takes for s.
  func effective(_ s: Double) -> Double { max(s, least) }

  /// The level at a share of the way from the logarithm of the least to that of the greatest.
  func level(_ share: Double) -> Double { least * pow(greatest / least, share) }

  /// A level for training, log-uniform.
  func draw(_ random: inout Philox) -> Double { level(random.uniform()) }

  /// Smooth functions of log s: u, linear and from −1 to 1 over the range, and bumps `exp(−(u − u_k)²/(2w²))` at places
  /// u_k evenly over it, w their distance.
  static var featureCount: Int { 1 + bumps }
  private static var bumps: Int { 8 }

  func feature(_ k: Int, of s: Double) -> Double {
    let u = 2 * log(min(effective(s), greatest) / least) / log(greatest / least) - 1
    if k == 0 { return u }
    let width = 2 / Double(Self.bumps - 1)
    let distance = (u + 1 - Double(k - 1) * width) / width
    return exp(-0.5 * distance * distance)
  }
}

/// The noise levels of a batch's images.
public enum NoiseLevels: Sendable, Hashable {
  /// The same for all.
  case all(Double)
  /// One each.
  case each([Double])

  public subscript(image: Int) -> Double {
    switch self {
    case .all(let s): s
    case .each(let levels): levels[image]
    }
  }
}

/// What the layers of a net add to their products at every pixel of an image, `b(s)`: numbers that depend on its noise
/// level alone.
struct ImageBiases<Scalar: KernelScalar> {
  /// `[images, channels]`; of one row, for all images.
  let values: Memory<Scalar>
  /// Of all layers, one behind the other.
  let channels: Int
  let height: Int
  let width: Int

  private func row(_ image: Int, _ offset: Int, _ count: Int) -> Memory<Scalar> {
    let start = (values.count == channels ? 0 : image * channels) + offset
    return values[start..<start + count]
  }

  /// Sets, or adds to, the given rows of a batch in y (dense, counted from the batch's first row on) what belongs to the
  /// `count` channels from `offset` on.
  func put(_ rows: Range<Int>, offset: Int, count: Int, stride: Int, adding: Bool, into y: Memory<Scalar>) {
    eachImage(rows) { image, pixels in
      let bias = row(image, offset, count)
      if adding {
        for pixel in pixels { Kernel.add(bias, to: y[pixel * stride..<pixel * stride + count]) }
      } else {
        Kernel.copyChannels(
          count, pixels: pixels.count, from: bias, stride: 0, to: part(y, pixels, count, stride),
          stride: stride)
      }
    }
  }

  /// The other way: adds the cotangents of rows of y, summed over the pixels of an image, to `values`.
  func sum(_ rows: Range<Int>, offset: Int, count: Int, stride: Int, cotangent: Memory<Scalar>) {
    eachImage(rows) { image, pixels in
      Kernel.sumPixels(
        part(cotangent, pixels, count, stride), pixels: pixels.count, channels: count, stride: stride,
        into: row(image, offset, count))
    }
  }

  /// The pixels of each image that has some of the rows; of all of them at once where they have the same numbers.
  private func eachImage(_ rows: Range<Int>, _ body: (_ image: Int, _ pixels: Range<Int>) -> Void) {
    guard values.count != channels || rows.isEmpty else {
      return body(0, rows.lowerBound * width..<rows.upperBound * width)
    }
    var start = rows.lowerBound
    while start < rows.upperBound {
      let image = start / height
      let end = min((image + 1) * height, rows.upperBound)
      body(image, start * width..<end * width)
      start = end
    }
  }

  /// `count` channels of some pixels.
  private func part(
    _ memory: Memory<Scalar>, _ pixels: Range<Int>, _ count: Int, _ stride: Int
  ) -> Memory<Scalar> {
    memory[pixels.lowerBound * stride..<(pixels.upperBound - 1) * stride + count]
  }
}

/// The embedding of the noise level: nets from a few functions of log s, by one hidden layer, to what another net's
/// layers add to their products; one for each part of these. It starts at zero.
final class NoiseEmbedding<Scalar: KernelScalar> {
  private let condition: Condition
  private let net: ConvNet<Scalar>
  /// Channels of the layers that it gives numbers to.
  var channels: Int { net.headChannels }

  static var hidden: Int { 32 }

  /// `parts`: how the names of the parameters begin, and channels.
  init(_ condition: Condition, parts: [(name: String, channels: Int)]) throws {
    self.condition = condition
    net = try ConvNet(
      parts.map {
        MLPSpec(hidden: [Self.hidden], activation: .silu).chain(
          $0.name, inChannels: Condition.featureCount, outChannels: $0.channels)
      }, headChannels: parts.reduce(0) { $0 + $1.channels })
  }

  var parametersOfParts: [[LayerParameter<Scalar>]] { net.ownParameters }

  func refresh() { net.refresh() }

  /// Scratch memory that it takes for so many images.
  func scratchCount(images: Int, parameterGradients: Bool) -> ScratchCount {
    let each =
      2 * channels + Condition.featureCount + net.recomputedChannels
      + (parameterGradients ? net.hiddenChannels : 0)
    let gradient = parameterGradients ? net.gradientWorkspaceCount(width: 1) + 64 : 0
    return ScratchCount(
      first: (images + 16) * each + net.workspaceCount(width: 1) + gradient + 512, others: gradient)
  }

  /// All images of a pass, a pixel each; or one that stands for all.
  private func strip(_ count: Int) -> Strip { Strip(rows: 0..<count, height: 1, width: 1) }

  private func features(_ count: Int, _ pass: FlowPass<Scalar>) throws -> Memory<Scalar> {
    let features = try pass.workspaces[0].take(count * Condition.featureCount)
    for image in 0..<count {
      for f in 0..<Condition.featureCount {
        features[image * Condition.featureCount + f] = Scalar(condition.feature(f, of: pass.noise[image]))
      }
    }
    return features
  }

  private func runner(_ pass: FlowPass<Scalar>) -> ConvNet<Scalar>.RowRunner {
    .init(pool: nil, workspaces: pass.workspaces)
  }

  /// b(s) of all images of a pass, in memory of its first workspace.
  func biases(_ pass: FlowPass<Scalar>) throws -> ImageBiases<Scalar> {
    let workspace = pass.workspaces[0]
    let count = pass.hasOneNoiseLevel ? min(pass.count, 1) : pass.count
    let values = try workspace.take(count * channels)
    try workspace.scope {
      try net.forward(
        strip(count), x: try features(count, pass), stride: Condition.featureCount, biases: nil, head: values,
        derivatives: nil, outputs: nil, workspace: workspace, runner: runner(pass))
    }
    return ImageBiases(values: values, channels: channels, height: pass.shape.height, width: pass.shape.width)
  }

  /// Zeros to sum the cotangents of a pass's biases in.
  func cotangents(_ pass: FlowPass<Scalar>) throws -> ImageBiases<Scalar> {
    let values = try pass.workspaces[0].take(pass.count * channels)
    values.fill(0)
    return ImageBiases(values: values, channels: channels, height: pass.shape.height, width: pass.shape.width)
  }

  /// Adds the parameters' gradients.
  func accumulateGradient(_ sums: ImageBiases<Scalar>, _ pass: FlowPass<Scalar>) throws {
    let workspace = pass.workspaces[0]
    try workspace.scope {
      let all = strip(pass.count)
      let inputs = ConvNet<Scalar>.GradientInputs(
        x: try features(pass.count, pass), stride: Condition.featureCount,
        outputs: try net.takeOutputs(all, workspace), cotangents: try net.takeCotangents(all, workspace),
        headCotangent: sums.values)
      let derivatives = try net.takeDerivatives(all, workspace)
      try net.forward(
        all, x: inputs.x, stride: inputs.stride, biases: nil, head: nil, derivatives: derivatives,
        outputs: inputs.outputs, workspace: workspace, runner: runner(pass))
      try net.vjp(
        all, derivatives: derivatives, headCotangent: sums.values, xCotangent: nil, xCotangentStride: 0,
        cotangents: inputs.cotangents, runner: runner(pass))
      try net.accumulateGradient(
        all, slab: pass.slab, inputs, pool: pass.pool, workspaces: pass.workspaces)
    }
  }
}
