import AIPOKernels

/// Which order a permutation gives to the channels.
public enum ChannelOrder: Hashable, Sendable {
  /// The halves exchanged; of an odd number the first half is the smaller one.
  case swap
  /// The last first.
  case reverse
  /// `y[k] = x[order[k]]`
  case given([Int])

  /// The order for so many channels. Throws `unsupportedShape` where a given one has another number of them.
  func indices(for shape: ImageShape) throws(FlowError) -> [Int] {
    let channels = Array(0..<shape.channels)
    switch self {
    case .swap: return Array(channels[(shape.channels / 2)...] + channels[..<(shape.channels / 2)])
    case .reverse: return channels.reversed()
    case .given(let order):
      guard order.count == shape.channels else {
        throw .unsupportedShape(
          shape, reason: "a permutation of \(order.count) channels meets \(shape.channels)")
      }
      return order
    }
  }
}

/// The channels in another order, `y[k] = x[order[k]]`; volume is kept.
public final class Permutation<Scalar: KernelScalar>: FlowLayer, KeepingLayer {
  private let order: ChannelOrder
  private var shape = ImageShape(height: 0, width: 0, channels: 0)
  private var forwardOrder: [Int] = []
  private var inverseOrder: [Int] = []

  public init(_ order: ChannelOrder) { self.order = order }

  func keptCount(_ kept: GradientMemory.Kept, parameterGradients: Bool) -> Int { 0 }

  public func configure(input: ImageShape) throws -> ImageShape {
    shape = input
    forwardOrder = try order.indices(for: input)
    inverseOrder = [Int](repeating: 0, count: forwardOrder.count)
    for (k, source) in forwardOrder.enumerated() { inverseOrder[source] = k }
    return input
  }

  private func permute(_ pass: FlowPass<Scalar>, _ order: [Int]) {
    let pixels = pass.rows * shape.width
    pass.rewrite(to: shape) { from, to in
      for (k, source) in order.enumerated() {
        Kernel.copyChannels(
          1, pixels: pixels, from: from.from(source), stride: order.count, to: to.from(k), stride: order.count
        )
      }
    }
  }

  public func forward(_ pass: FlowPass<Scalar>) throws { permute(pass, forwardOrder) }
  public func inverse(_ pass: FlowPass<Scalar>) throws { permute(pass, inverseOrder) }
  public func forwardVJP(_ pass: FlowPass<Scalar>) throws { permute(pass, inverseOrder) }
  public func inverseVJP(_ pass: FlowPass<Scalar>) throws { permute(pass, forwardOrder) }
}
