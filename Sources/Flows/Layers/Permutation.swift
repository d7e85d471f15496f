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

extension ChannelOrder: LayerKind {
  public static let name = "permutation"
  public var reach: Int? { 0 }

  public func check() throws(FlowError) {
    guard case .given(let order) = self, order.sorted() != Array(0..<order.count) else { return }
    throw .invalidSpec("permutation: the order is no permutation of 0..<\(order.count)")
  }

  public func output(for input: ImageShape) throws(FlowError) -> ImageShape {
    _ = try indices(for: input)
    return input
  }

  public func makeLayer<Scalar: KernelScalar>(
    for input: ImageShape, in flow: FlowSpec, _: Scalar.Type
  ) throws -> any FlowLayer<Scalar> { try Permutation<Scalar>(self, channels: input.channels) }
}

/// The channels in another order, `y[k] = x[order[k]]`; volume is kept.
public final class Permutation<Scalar: KernelScalar>: FlowLayer, KeepingLayer {
  private let forwardOrder: [Int]
  private let inverseOrder: [Int]

  /// Throws `unsupportedShape` where a given order has another number of channels.
  public init(_ order: ChannelOrder, channels: Int) throws(FlowError) {
    forwardOrder = try order.indices(for: ImageShape(height: 1, width: 1, channels: channels))
    var inverse = [Int](repeating: 0, count: channels)
    for (k, source) in forwardOrder.enumerated() { inverse[source] = k }
    inverseOrder = inverse
  }

  func keptCount(_ kept: GradientMemory.Kept, input: ImageShape, parameterGradients: Bool) -> Int { 0 }

  public func output(for input: ImageShape) -> ImageShape {
    precondition(input.channels == forwardOrder.count)
    return input
  }

  private func permute(_ pass: FlowPass<Scalar>, _ order: [Int]) {
    let pixels = pass.rows * pass.shape.width
    pass.rewrite(to: pass.shape) { from, to in
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
