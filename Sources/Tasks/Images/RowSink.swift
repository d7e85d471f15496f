import AIPOImaging
import AIPOKernels
import Synchronization

/// Rows that are written as they come, to a file of images or arrays in a precision. What was written so far can be kept at any
/// moment, also from the thread that watches for signals.
public final class RowSink: Sendable {
  private struct State {
    /// Nil once the file is in its place.
    var file: (any RowFile)?
    var isEmpty = true
  }
  private let state: Mutex<State>

  /// Images, `[n, h, w, c]`.
  public init(
    images path: String, shape: ImageShape, precision: Precision, geometry: ImageGeometry? = nil,
    depth: PixelDepth = .float
  ) throws(FileError) {
    func output<Scalar: KernelScalar>(_: Scalar.Type) throws(FileError) -> State {
      State(
        file: try ImageOutput<Scalar>(path: path, imageShape: shape, geometry: geometry, depth: depth))
    }
    switch precision {
    case .float32: state = Mutex(try output(Float.self))
    case .float64: state = Mutex(try output(Double.self))
    }
  }

  /// Rows of any shape, in an NPY or NPZ.
  public init(rows path: String, rowShape: [Int], precision: Precision) throws(FileError) {
    switch precision {
    case .float32: state = Mutex(State(file: try NPYWriter<Float>(path: path, rowShape: rowShape)))
    case .float64: state = Mutex(State(file: try NPYWriter<Double>(path: path, rowShape: rowShape)))
    }
  }

  public func append<Scalar: KernelScalar>(_ batch: Tensor<Scalar>) throws {
    try state.withLock { state in
      state.isEmpty = false
      try state.file?.add(batch)
    }
  }

  /// Puts the file in its place; none where nothing was written.
  public func finish() throws {
    try state.withLock { state in
      defer { state.file = nil }
      if !state.isEmpty { try state.file?.finish() }
    }
  }
}

private protocol RowFile {
  associatedtype Scalar: KernelScalar
  func append(_ batch: Tensor<Scalar>) throws(FileError)
  func finish() throws(FileError)
}

extension RowFile {
  /// Appends rows in the file's precision.
  func add<Other: KernelScalar>(_ batch: Tensor<Other>) throws {
    try append(batch as? Tensor<Scalar> ?? batch.converted(to: Scalar.self))
  }
}

extension ImageOutput: RowFile {}
extension NPYWriter: RowFile {}

/// How many images are worked on at once: enough to keep the threads busy, few enough to bound the memory and
/// to come to the next look at a signal soon.
package func batchSize(_ shape: ImageShape, limit: Int = 64) -> Int {
  max(1, min(limit, (1 << 18) / max(shape.count, 1)))
}
