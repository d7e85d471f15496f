import AIPOImaging
import AIPOKernels
import Synchronization

/// Rows that are written as they come, to PNG or NPY. What was written so far can be kept at any moment, also
/// from the thread that watches for signals.
public final class RowSink<Scalar: KernelScalar>: Sendable {
  private enum Target {
    case images(ImageOutput<Scalar>)
    case array(NPYWriter<Scalar>)
    case done
  }
  private struct State {
    var target: Target
    var isEmpty = true
  }
  private let state: Mutex<State>

  /// Images, `[n, h, w, c]`.
  public init(images path: String, shape: ImageShape) throws(FileError) {
    state = Mutex(State(target: .images(try ImageOutput(path: path, imageShape: shape))))
  }

  /// Rows of any shape, in an NPY.
  public init(rows path: String, rowShape: [Int]) throws(FileError) {
    state = Mutex(State(target: .array(try NPYWriter(path: path, rowShape: rowShape))))
  }

  public func append(_ batch: Tensor<Scalar>) throws {
    try state.withLock { state in
      state.isEmpty = false
      switch state.target {
      case .images(let output): try output.append(batch)
      case .array(let writer): try writer.append(batch)
      case .done: break
      }
    }
  }

  /// Puts the file in its place; none where nothing was written.
  public func finish() throws {
    try state.withLock { state in
      defer { state.target = .done }
      guard !state.isEmpty else { return }
      switch state.target {
      case .images(let output): try output.finish()
      case .array(let writer): try writer.finish()
      case .done: break
      }
    }
  }
}

/// A `RowSink` of doubles that are written in a precision.
final class AnyRowSink: Sendable {
  private enum Sink: Sendable {
    case float32(RowSink<Float>)
    case float64(RowSink<Double>)
  }
  private let sink: Sink

  /// Images, `[n, h, w, c]`.
  init(_ precision: Precision, images path: String, shape: ImageShape) throws {
    sink =
      switch precision {
      case .float32: .float32(try RowSink(images: path, shape: shape))
      case .float64: .float64(try RowSink(images: path, shape: shape))
      }
  }

  /// Rows of any shape, in an NPY.
  init(_ precision: Precision, rows path: String, rowShape: [Int]) throws {
    sink =
      switch precision {
      case .float32: .float32(try RowSink(rows: path, rowShape: rowShape))
      case .float64: .float64(try RowSink(rows: path, rowShape: rowShape))
      }
  }

  func append(_ batch: Tensor<Double>) throws {
    switch sink {
    case .float32(let sink): try sink.append(batch.converted(to: Float.self))
    case .float64(let sink): try sink.append(batch)
    }
  }

  func finish() throws {
    switch sink {
    case .float32(let sink): try sink.finish()
    case .float64(let sink): try sink.finish()
    }
  }
}

/// How many images are worked on at once: enough to keep the threads busy, few enough to bound the memory and
/// to come to the next look at a signal soon.
package func batchSize(_ shape: ImageShape, limit: Int = 64) -> Int {
  max(1, min(limit, (1 << 18) / max(shape.count, 1)))
}
