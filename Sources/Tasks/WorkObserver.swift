import AIPOFlows
import AIPOKernels

/// The element type that images and the flow are worked in; sums are in float64 either way.
public typealias Precision = TrainingConfig.Precision

extension Precision {
  package init<Scalar: KernelScalar>(_: Scalar.Type) {
    self = Scalar.self == Float.self ? .float32 : .float64
  }
}

/// How a caller sees long work, and stops it. Both are called on the caller's thread.
public struct WorkObserver {
  /// Told how much is finished, in the work's own units; a fraction counts parts of one.
  public var onProgress: (Double) -> Void
  /// Asked between steps; true ends the work with what there is.
  public var isCancelled: () -> Bool

  public init(
    onProgress: @escaping (Double) -> Void = { _ in }, isCancelled: @escaping () -> Bool = { false }
  ) {
    self.onProgress = onProgress
    self.isCancelled = isCancelled
  }

  /// Goes through so many images of a shape in batches of bounded memory, until cancelled.
  func inBatches(of shape: ImageShape, count: Int, _ body: (Range<Int>) throws -> Void) rethrows {
    let size = batchSize(shape)
    for start in stride(from: 0, to: count, by: size) where !isCancelled() {
      let range = start..<min(start + size, count)
      try body(range)
      onProgress(Double(range.upperBound))
    }
  }
}
