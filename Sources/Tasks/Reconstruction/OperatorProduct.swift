import AIPOImaging
import AIPOInterchange
import AIPOKernels
import AIPOProblems

extension ReconstructionTask {
  /// The same where only the measurement is asked for, of images of a size: a matrix by itself is that of `sense`. Throws a
  /// usage error where the flags say too little.
  package func ofMeasurement() throws(TaskError) -> ReconstructionTask {
    var task = self
    if kind == nil, operatorFile != nil { task.kind = .sense }
    try task.checkMeasurement()
    if size == nil, operatorFile == nil {
      throw TaskError(.usage, key: "size", "--size is needed, as 64x64")
    }
    return task
  }

  /// The map of images of the task's size; nil channels are three where colours are measured, else one.
  package func map(channels: Int?) throws -> any Map {
    let channels = channels ?? ([.demosaic, .unmix].contains(kind) ? 3 : 1)
    return try map(of: size.map { ImageShape(height: $0.height, width: $0.width, channels: channels) })
  }
}

/// Products of a map with arrays in files, values as they are.
public struct OperatorProduct {
  private let map: any Map
  private let threads: Int

  public init(_ map: any Map, threads: Int = ThreadPool.availableCores) {
    (self.map, self.threads) = (map, threads)
  }

  /// A of an image.
  public func apply(_ path: String) throws -> Tensor<Double> {
    try product(path, from: map.input, to: map.output) { try map.apply($0, into: $1, $2) }
  }

  /// Aᵀ of measurements. Throws a usage error where the map isn't linear.
  public func adjoint(_ path: String) throws -> Tensor<Double> {
    guard let linear = map as? any LinearMap else {
      throw TaskError(.usage, "--adjoint needs a linear operator")
    }
    return try product(path, from: map.output, to: map.input) { try linear.adjoint($0, into: $1, $2) }
  }

  private func product(
    _ path: String, from: ImageShape, to: ImageShape, _ body: (Vector, Vector, Scratch) throws -> Void
  ) throws -> Tensor<Double> {
    let values = try ArrayFile.read(path, as: Double.self)
    guard values.count == from.count else {
      throw TaskError(
        .data, "\(path): has shape \(values.shape), expected the \(from.count) values of \(from)")
    }
    var result = try Tensor<Double>(shape: to.isVector ? [to.count] : [to.height, to.width, to.channels])
    let scratch = Scratch(pool: ThreadPool(threads: threads))
    try result.withMemory { try body(values.view, $0, scratch) }
    return result
  }
}
