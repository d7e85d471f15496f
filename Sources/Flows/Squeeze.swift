import AIPOKernels

/// Where a squeeze takes the values of a pixel from.
public enum SqueezeForm: String, Codable, Sendable, CaseIterable {
  /// Blocks of 2×2 pixels: `z[i,j,4c+2dy+dx] = x[2i+dy,2j+dx,c]`.
  case interleaved
  /// The values in channels-first order, `[c, h, w]`, under the shape `[4c, h/2, w/2]`: as the first GlowIP has it.
  case contiguous
}

/// Space to depth, `[h, w, c] → [h/2, w/2, 4c]`; volume is kept.
public final class Squeeze<Scalar: KernelScalar>: FlowLayer, KeepingLayer {
  private let form: SqueezeForm
  private var before = ImageShape(height: 0, width: 0, channels: 0)
  private var after = ImageShape(height: 0, width: 0, channels: 0)

  /// For a contiguous squeeze, where each of an image's values comes from; and the way back.
  private var sources: [Int32] = []
  private var targets: [Int32] = []

  public init(_ form: SqueezeForm = .interleaved) { self.form = form }

  func keptCount(_ kept: GradientMemory.Kept, parameterGradients: Bool) -> Int { 0 }

  public func configure(input: ImageShape) throws -> ImageShape {
    guard input.height % 2 == 0, input.width % 2 == 0, input.height > 0, input.width > 0 else {
      throw FlowError.unsupportedShape(input, reason: "a squeeze needs even height and width")
    }
    before = input
    after = ImageShape(height: input.height / 2, width: input.width / 2, channels: input.channels * 4)
    if form == .contiguous {
      guard input.count <= Int(Int32.max) else {
        throw FlowError.unsupportedShape(
          input, reason: "a contiguous squeeze takes at most \(Int32.max) values")
      }
      sources = [Int32](repeating: 0, count: input.count)
      targets = sources
      for k in 0..<input.count {
        let (z, x) = (Self.place(ofChannelsFirst: k, in: after), Self.place(ofChannelsFirst: k, in: before))
        sources[z] = Int32(x)
        targets[x] = Int32(z)
      }
    }
    return after
  }

  /// Where the k-th value in channels-first order lies.
  private static func place(ofChannelsFirst k: Int, in shape: ImageShape) -> Int {
    let (channel, pixel) = k.quotientAndRemainder(dividingBy: shape.height * shape.width)
    return pixel * shape.channels + channel
  }

  /// Rewrites the batch image by image.
  private func gather(_ pass: FlowPass<Scalar>, to shape: ImageShape, _ indices: [Int32]) throws {
    let size = indices.count
    try pass.rewrite(to: shape) { from, to in
      try pass.pool.split(pass.count, minimum: max(1, 16384 / size)) { images, _ in
        for i in images {
          let range = i * size..<(i + 1) * size
          Kernel.gather(from[range], indices: indices, into: to[range])
        }
      }
    }
  }

  @_specialize(where Scalar == Float)
  @_specialize(where Scalar == Double)
  private func squeeze(_ pass: FlowPass<Scalar>) throws {
    guard form == .interleaved else { return try gather(pass, to: after, sources) }
    let rows = pass.count * after.height
    try pass.rewrite(to: after) { from, to in
      try pass.pool.split(rows, minimum: max(1, 16384 / (after.width * after.channels))) { range, _ in
        Kernel.squeeze(from, shape: before, rows: range, into: to)
      }
    }
  }

  @_specialize(where Scalar == Float)
  @_specialize(where Scalar == Double)
  private func unsqueeze(_ pass: FlowPass<Scalar>) throws {
    guard form == .interleaved else { return try gather(pass, to: before, targets) }
    let rows = pass.count * after.height
    try pass.rewrite(to: before) { from, to in
      try pass.pool.split(rows, minimum: max(1, 16384 / (after.width * after.channels))) { range, _ in
        Kernel.unsqueeze(from, shape: before, rows: range, into: to)
      }
    }
  }

  public func forward(_ pass: FlowPass<Scalar>) throws { try squeeze(pass) }
  public func inverse(_ pass: FlowPass<Scalar>) throws { try unsqueeze(pass) }
  public func forwardVJP(_ pass: FlowPass<Scalar>) throws { try unsqueeze(pass) }
  public func inverseVJP(_ pass: FlowPass<Scalar>) throws { try squeeze(pass) }
}
