import AIPOKernels

/// Space to depth, `[h, w, c] → [h/2, w/2, 4c]` with `z[i,j,4c+2dy+dx] = x[2i+dy,2j+dx,c]`; volume is kept.
public final class Squeeze<Scalar: KernelScalar>: FlowLayer, KeepingLayer {
  private var before = ImageShape(height: 0, width: 0, channels: 0)
  private var after = ImageShape(height: 0, width: 0, channels: 0)

  public init() {}

  func keptCount(_ kept: GradientMemory.Kept, parameterGradients: Bool) -> Int { 0 }

  public func configure(input: ImageShape) throws -> ImageShape {
    guard input.height % 2 == 0, input.width % 2 == 0, input.height > 0, input.width > 0 else {
      throw FlowError.unsupportedShape(input, reason: "a squeeze needs even height and width")
    }
    before = input
    after = ImageShape(height: input.height / 2, width: input.width / 2, channels: input.channels * 4)
    return after
  }

  @_specialize(where Scalar == Float)
  @_specialize(where Scalar == Double)
  private func squeeze(_ pass: FlowPass<Scalar>) throws {
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
