import AIPOImaging
import AIPOKernels
import Synchronization

/// Rows that are written as they come, to a file of images or arrays in a precision. What was written so far can be kept at any
/// moment, also from the thread that watches for signals.
public final class RowSink: Sendable {
  private struct State {
    /// Nil once the file is in its place, and on ranks that don't write.
    var file: (any RowFile)?
    var isEmpty = true
  }
  private let state: Mutex<State>
  private let precision: Precision
  /// Set where every rank has some rows of each image.
  private let strips: Strips?

  /// Images, `[n, h, w, c]`. With strips what is appended is this rank's rows of one image; the first rank writes.
  public init(
    images path: String, shape: ImageShape, precision: Precision, geometry: ImageGeometry? = nil,
    depth: PixelDepth = .float, strips: Strips? = nil
  ) throws(FileError) {
    func output<Scalar: KernelScalar>(_: Scalar.Type) throws(FileError) -> State {
      guard strips?.ranks.isFirst ?? true else { return State() }
      return State(
        file: try ImageOutput<Scalar>(path: path, imageShape: shape, geometry: geometry, depth: depth))
    }
    (self.precision, self.strips) = (precision, strips)
    switch precision {
    case .float32: state = Mutex(try output(Float.self))
    case .float64: state = Mutex(try output(Double.self))
    }
  }

  /// Rows of any shape, in an NPY or NPZ.
  public init(rows path: String, rowShape: [Int], precision: Precision) throws(FileError) {
    (self.precision, strips) = (precision, nil)
    switch precision {
    case .float32: state = Mutex(State(file: try NPYWriter<Float>(path: path, rowShape: rowShape)))
    case .float64: state = Mutex(State(file: try NPYWriter<Double>(path: path, rowShape: rowShape)))
    }
  }

  public func append<Scalar: KernelScalar>(_ batch: Tensor<Scalar>) throws {
    try state.withLock { state in
      state.isEmpty = false
      guard let strips else {
        try state.file?.add(batch)
        return
      }
      let file = state.file
      switch precision {
      case .float32: try Self.collect(batch, Float.self, file as? ImageOutput<Float>, strips)
      case .float64: try Self.collect(batch, Double.self, file as? ImageOutput<Double>, strips)
      }
    }
  }

  private static func collect<Scalar: KernelScalar, Value: KernelScalar>(
    _ strip: Tensor<Scalar>, _: Value.Type, _ file: ImageOutput<Value>?, _ strips: Strips
  ) throws {
    let values = try strip as? Tensor<Value> ?? strip.converted(to: Value.self)
    let rowLength = values.shape[2] * values.shape[3]
    try values.withUnsafeBufferPointer { own in
      try strips.collect(
        own, counts: (0..<strips.ranks.count).map { strips.rows(rank: $0).count * rowLength }
      ) { part in
        try file?.append(values: part)
      }
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
