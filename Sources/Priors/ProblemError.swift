import AIPOKernels

/// What can be wrong with an inverse problem, its data or its Gaussian prior.
public enum ProblemError: Error, Equatable, CustomStringConvertible {
  case shapeMismatch(what: String, found: [Int], expected: [Int])
  case nonFinite(what: String, image: Int, position: Int, value: Double)
  case invalidSigma(Double)
  /// A parameter of a noise model out of its range.
  case invalidParameter(name: String, value: Double, expected: String)
  /// A measurement that can't be one under the noise model.
  case impossible(position: Int, value: Double, reason: String)
  /// A noise model can't do what was asked of it.
  case unsupportedNoise(String)
  case invalidMask(String, reason: String)
  case invalidWeight(what: String, value: Double)
  case algebra(LinearAlgebraError)
  case memory(TensorError)

  public var description: String {
    switch self {
    case .shapeMismatch(let what, let found, let expected):
      "\(what) has shape \(found), expected \(expected)"
    case .nonFinite(let what, let image, let position, let value):
      "\(what) \(image) holds \(value) at position \(position), expected a finite number"
    case .invalidSigma(let sigma):
      "the noise deviation sigma is \(sigma), expected a finite number above 0"
    case .invalidParameter(let name, let value, let expected):
      "\(name) is \(Self.number(value)), expected \(expected)"
    case .impossible(let position, let value, let reason):
      "observed value \(position) is \(value): \(reason)"
    case .unsupportedNoise(let reason): reason
    case .invalidMask(let text, let reason): "mask \"\(text)\": \(reason)"
    case .invalidWeight(let what, let value): "\(what) is \(value), expected a finite number above 0"
    case .algebra(let error): error.description
    case .memory(let error): error.description
    }
  }

  /// A whole number without its fraction.
  package static func number(_ value: Double) -> String {
    Int(exactly: value).map(String.init) ?? "\(value)"
  }
}

/// Runs linear algebra and gives its errors as ours.
package func algebra<R>(_ body: () throws(LinearAlgebraError) -> R) throws(ProblemError) -> R {
  do {
    return try body()
  } catch {
    throw .algebra(error)
  }
}

/// Takes memory and gives its errors as ours.
package func memory<R>(_ body: () throws(TensorError) -> R) throws(ProblemError) -> R {
  do {
    return try body()
  } catch {
    throw .memory(error)
  }
}
