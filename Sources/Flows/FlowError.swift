import AIPOKernels

/// What can be wrong with a flow, its parameters or what it is given.
public enum FlowError: Error, Equatable, CustomStringConvertible {
  /// The flow can't be built for this image size.
  case unsupportedShape(ImageShape, reason: String)
  /// The specification doesn't describe a flow.
  case invalidSpec(String)
  /// An input has the wrong shape.
  case shapeMismatch(what: String, found: [Int], expected: [Int])
  /// A parameter isn't finite, or a matrix has no inverse.
  case unusableParameters(name: String, reason: String)
  /// A checkpoint's tensor is missing, unknown or of another shape.
  case tensorMismatch(name: String, reason: String)
  /// The density isn't finite at the image of this index.
  case notFinite(image: Int, value: Double)
  /// `GradientMemory.upTo` allows less than the least part of a batch needs; both in bytes.
  case gradientMemory(needed: Int, limit: Int)

  public var description: String {
    switch self {
    case .unsupportedShape(let shape, let reason): "the flow doesn't accept images of \(shape): \(reason)"
    case .invalidSpec(let reason): "the flow's specification is invalid: \(reason)"
    case .shapeMismatch(let what, let found, let expected): "\(what) has shape \(found), expected \(expected)"
    case .unusableParameters(let name, let reason): "the parameter \(name) is unusable: \(reason)"
    case .tensorMismatch(let name, let reason): "the tensor \(name) \(reason)"
    case .notFinite(let image, let value):
      "the log-density of image \(image) is \(value), expected a finite value"
    case .gradientMemory(let needed, let limit):
      "a gradient needs \(needed) bytes for what it keeps on its way, and may take \(limit)"
    }
  }
}
