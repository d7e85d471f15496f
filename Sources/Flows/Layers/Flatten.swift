import AIPOKernels

/// A flattening in a flow as data.
struct FlattenKind: LayerKind {
  static let name = "flatten"
  static let plain: Self? = Self()

  func output(for input: ImageShape) throws(FlowError) -> ImageShape {
    let result = ImageShape.vector(input.count)
    guard result.channels <= FlowSpec.widthLimit else {
      throw .unsupportedShape(input, reason: "a flattening makes \(FlowSpec.widthLimit) channels at most")
    }
    return result
  }

  func makeLayer<Scalar: KernelScalar>(
    for input: ImageShape, in flow: FlowSpec, _: Scalar.Type
  ) -> any FlowLayer<Scalar> { Flatten<Scalar>(input) }
}

extension FlattenKind {
  init(from decoder: any Decoder) throws { _ = try KnownKeys(decoder, []) }
}

/// An image as one pixel of all its values, `[h, w, c] → [1, 1, hwc]` in the same order, for nets that see all of a patch.
public final class Flatten<Scalar: KernelScalar>: FlowLayer, KeepingLayer {
  private let input: ImageShape

  public init(_ input: ImageShape) { self.input = input }

  public func output(for input: ImageShape) throws -> ImageShape {
    guard input == self.input else {
      throw FlowError.unsupportedShape(input, reason: "its flattening is of \(self.input)")
    }
    return .vector(input.count)
  }

  func keptCount(_ kept: GradientMemory.Kept, input: ImageShape, parameterGradients: Bool) -> Int { 0 }

  private func rename(_ pass: FlowPass<Scalar>, _ shape: ImageShape) {
    pass.rewrite(to: shape) { from, to in to.copy(from: from) }
  }

  public func forward(_ pass: FlowPass<Scalar>) { rename(pass, .vector(input.count)) }
  public func inverse(_ pass: FlowPass<Scalar>) { rename(pass, input) }
  public func forwardVJP(_ pass: FlowPass<Scalar>) { rename(pass, input) }
  public func inverseVJP(_ pass: FlowPass<Scalar>) { rename(pass, .vector(input.count)) }
}
