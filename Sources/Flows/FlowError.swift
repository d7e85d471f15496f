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
  /// Images of this shape take more memory than is allowed; `fits` is the largest shape of the same proportions that
  /// doesn't.
  case tooLarge(ImageShape, purpose: FlowPlan.Purpose, bytes: Int, limit: Int, fits: ImageShape?)
  /// A noise level that the flow has no density for.
  case noiseLevel(Double, reason: String)
  /// The density isn't finite at the image of this index.
  case notFinite(image: Int, value: Double)

  public var description: String {
    switch self {
    case .unsupportedShape(let shape, let reason): "the flow doesn't accept images of \(shape): \(reason)"
    case .invalidSpec(let reason): "the flow's specification is invalid: \(reason)"
    case .shapeMismatch(let what, let found, let expected): "\(what) has shape \(found), expected \(expected)"
    case .unusableParameters(let name, let reason): "the parameter \(name) is unusable: \(reason)"
    case .tensorMismatch(let name, let reason): "the tensor \(name) \(reason)"
    case .tooLarge(let shape, let purpose, let bytes, let limit, let fits):
      "a \(purpose.rawValue) of the flow at \(shape) takes \(Self.megabytes(bytes)) of memory, and "
        + "\(Self.megabytes(limit)) are allowed; "
        + (fits.map { "up to \($0.height)x\($0.width) fits" } ?? "no size fits")
    case .noiseLevel(let s, let reason): "the noise level is \(s): \(reason)"
    case .notFinite(let image, let value):
      "the log-density of image \(image) is \(value), expected a finite value"
    }
  }

  private static func megabytes(_ bytes: Int) -> String { "\((bytes + 1 << 20 - 1) >> 20) MiB" }
}
