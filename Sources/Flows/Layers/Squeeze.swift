import AIPOKernels

/// Where a squeeze takes the values of a pixel from.
public enum SqueezeForm: String, Codable, Sendable, CaseIterable {
  /// Blocks of 2×2 pixels: `z[i,j,4c+2dy+dx] = x[2i+dy,2j+dx,c]`.
  case interleaved
  /// The values in channels-first order, `[c, h, w]`, under the shape `[4c, h/2, w/2]`: as the first GlowIP has it.
  case contiguous
}

/// A pixel behind interleaved squeezes, which is a block of the image's pixels.
struct SqueezedPixel {
  struct Place: Equatable { let y, x, channel: Int }

  /// Rows and columns of the block.
  let side: Int
  /// Where in the block each channel comes from.
  let places: [Place]

  /// Pixels of so many channels made of an image's: the image's channels times a power of four.
  init(of channels: Int, in image: ImageShape) {
    var side = 1
    while image.channels * side * side < channels { side *= 2 }
    precondition(image.channels * side * side == channels, "\(channels) channels of blocks of \(image)")
    self.side = side
    places = (0..<channels).map {
      var (y, x, channel) = (0, 0, $0)
      for _ in 0..<side.trailingZeroBitCount {
        y = 2 * y + channel % 4 / 2
        x = 2 * x + channel % 2
        channel /= 4
      }
      return Place(y: y, x: x, channel: channel)
    }
  }
}

/// A squeeze in a flow as data.
struct SqueezeKind: LayerKind {
  static let name = "squeeze"
  static let plain: Self? = Self(form: .interleaved)
  var form: SqueezeForm

  var divisor: Int { 2 }
  var reach: Int? { form == .interleaved ? 0 : nil }

  func output(for input: ImageShape) throws(FlowError) -> ImageShape {
    guard input.channels <= FlowSpec.widthLimit / 4 else {
      throw .unsupportedShape(
        input, reason: "a squeeze would make more than \(FlowSpec.widthLimit) channels")
    }
    return ImageShape(height: input.height / 2, width: input.width / 2, channels: 4 * input.channels)
  }

  func makeLayer<Scalar: KernelScalar>(
    for input: ImageShape, in flow: FlowSpec, _: Scalar.Type
  ) -> any FlowLayer<Scalar> { Squeeze<Scalar>(form) }
}

extension SqueezeKind {
  init(from decoder: any Decoder) throws {
    form = try KnownKeys(decoder, ["form"]).get("form", default: .interleaved)
  }
}

/// Space to depth, `[h, w, c] → [h/2, w/2, 4c]`; volume is kept.
public final class Squeeze<Scalar: KernelScalar>: FlowLayer, KeepingLayer {
  private let form: SqueezeForm

  public init(_ form: SqueezeForm = .interleaved) { self.form = form }

  func keptCount(_ kept: GradientMemory.Kept, input: ImageShape, parameterGradients: Bool) -> Int { 0 }

  public func output(for input: ImageShape) throws -> ImageShape {
    guard input.height % 2 == 0, input.width % 2 == 0, input.height > 0, input.width > 0 else {
      throw FlowError.unsupportedShape(input, reason: "a squeeze needs even height and width")
    }
    return ImageShape(height: input.height / 2, width: input.width / 2, channels: input.channels * 4)
  }

  /// Runs `body` for what travels, under the shape behind the squeeze or, `back`, before it: for the rows of the smaller
  /// image.
  private func rewrite(
    _ pass: FlowPass<Scalar>, back: Bool,
    _ body: (_ before: ImageShape, _ rows: Range<Int>, _ from: Memory<Scalar>, _ to: Memory<Scalar>) -> Void
  ) throws {
    let shape = pass.shape
    let large =
      back
      ? ImageShape(height: 2 * shape.height, width: 2 * shape.width, channels: shape.channels / 4) : shape
    let small =
      back
      ? shape
      : ImageShape(
        height: shape.height / 2, width: shape.width / 2, channels: shape.channels * 4)
    let rows = pass.count * small.height
    try pass.rewrite(to: back ? large : small) { from, to in
      try pass.pool.split(rows, minimum: max(1, 16384 / (small.width * small.channels))) { range, _ in
        body(large, range, from, to)
      }
    }
  }

  /// Channels-first order under another shape: a quarter of the pixels becomes a channel, `z[p, 4c + q] = x[q·n + p, c]`
  /// with n pixels behind the squeeze.
  private func contiguous(
    _ before: ImageShape, rows: Range<Int>, back: Bool, _ from: Memory<Scalar>, _ to: Memory<Scalar>
  ) {
    let (c, height, width) = (before.channels, before.height / 2, before.width / 2)
    let n = height * width
    var row = rows.lowerBound
    while row < rows.upperBound {
      let (image, first) = row.quotientAndRemainder(dividingBy: height)
      let end = min(rows.upperBound, (image + 1) * height)
      let (pixels, start) = ((end - row) * width, first * width)
      for k in 0..<c {
        for q in 0..<4 {
          let large = image * before.count + (q * n + start) * c + k
          let small = image * before.count + start * 4 * c + 4 * k + q
          Kernel.copyChannels(
            1, pixels: pixels, from: from.from(back ? small : large), stride: back ? 4 * c : c,
            to: to.from(back ? large : small), stride: back ? c : 4 * c)
        }
      }
      row = end
    }
  }

  @_specialize(where Scalar == Float)
  @_specialize(where Scalar == Double)
  private func squeeze(_ pass: FlowPass<Scalar>) throws {
    try rewrite(pass, back: false) { before, rows, from, to in
      switch form {
      case .interleaved: Kernel.squeeze(from, shape: before, rows: rows, into: to)
      case .contiguous: contiguous(before, rows: rows, back: false, from, to)
      }
    }
  }

  @_specialize(where Scalar == Float)
  @_specialize(where Scalar == Double)
  private func unsqueeze(_ pass: FlowPass<Scalar>) throws {
    try rewrite(pass, back: true) { before, rows, from, to in
      switch form {
      case .interleaved: Kernel.unsqueeze(from, shape: before, rows: rows, into: to)
      case .contiguous: contiguous(before, rows: rows, back: true, from, to)
      }
    }
  }

  public func forward(_ pass: FlowPass<Scalar>) throws { try squeeze(pass) }
  public func inverse(_ pass: FlowPass<Scalar>) throws { try unsqueeze(pass) }
  public func forwardVJP(_ pass: FlowPass<Scalar>) throws { try unsqueeze(pass) }
  public func inverseVJP(_ pass: FlowPass<Scalar>) throws { try squeeze(pass) }
}
