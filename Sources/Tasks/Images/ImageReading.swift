import AIPOImaging
import AIPOKernels

/// How images are read: what the values and axes of a file mean, and how another size or colour is brought to the
/// wanted one.
public struct ImageReading: Hashable, Sendable {
  public var layout: ImageLayout?
  public var transform: ImageTransform

  public init(layout: ImageLayout? = nil, transform: ImageTransform = .identity) {
    self.layout = layout
    self.transform = transform
  }
}
