import AIPOKernels
import AIPOPlatform
import AIPOPriors

/// `f(x) = φ(g(x))`, φ of every measurement by itself: a sensor's response behind any other map.
public struct PointwiseMap: Map {
  public let map: any Map
  public let response: PixelResponse

  public var input: ImageShape { map.input }
  public var output: ImageShape { map.output }

  public init(_ response: PixelResponse, after map: any Map) { (self.response, self.map) = (response, map) }

  public func apply(_ x: Vector, into y: Vector, _ scratch: Scratch) throws {
    try map.apply(x, into: y, scratch)
    y.setEach(scratch.pool) { response.value($0) }
  }

  public func pullback(_ u: Vector, at x: Vector, into g: Vector, _ scratch: Scratch) throws {
    try scratch.scope {
      let slopes = try scratch.take(output.count)
      try setSlopes(slopes, x, scratch)
      slopes.setEach(scratch.pool, slopes, u) { $0 * $1 }
      try map.pullback(slopes, at: x, into: g, scratch)
    }
  }

  public func derivative(at x: Vector, _ scratch: Scratch) throws -> (any LinearMap)? {
    guard let inner = try map.derivative(at: x, scratch) else { return nil }
    var slopes = try Tensor<Double>(count: output.count)
    try slopes.withMemory { try setSlopes($0, x, scratch) }
    return try WeightedMap(inner, weights: slopes)
  }

  /// `φ′(g(x))`
  private func setSlopes(_ slopes: Vector, _ x: Vector, _ scratch: Scratch) throws {
    try map.apply(x, into: slopes, scratch)
    slopes.setEach(scratch.pool) { response.slope($0) }
  }
}

/// φ and φ′, how a measurement answers to what falls on it.
public struct PixelResponse: Sendable {
  public let value: @Sendable (Double) -> Double
  public let slope: @Sendable (Double) -> Double

  public init(value: @escaping @Sendable (Double) -> Double, slope: @escaping @Sendable (Double) -> Double) {
    (self.value, self.slope) = (value, slope)
  }

  /// `t²`: intensities of real amplitudes.
  public static let square = PixelResponse(value: { $0 * $0 }, slope: { 2 * $0 })

  /// `e^(−t)`: what passes where t is the integral of an attenuation (Beer and Lambert).
  public static let transmission = PixelResponse(value: { exp(-$0) }, slope: { -exp(-$0) })

  /// `c·tanh(t/c)`: a sensor that saturates softly at ±c.
  public static func softSaturation(at c: Double) -> PixelResponse {
    PixelResponse(
      value: { c * tanh($0 / c) },
      slope: {
        let value = tanh($0 / c)
        return 1 - value * value
      })
  }

  /// `|t|^γ` with the sign of t: a display's or a film's curve.
  public static func gamma(_ exponent: Double) -> PixelResponse {
    PixelResponse(
      value: { $0 < 0 ? -pow(-$0, exponent) : pow($0, exponent) },
      slope: { exponent * pow($0.magnitude, exponent - 1) })
  }
}

/// `f(x) = diag(w) A x`
public struct WeightedMap: LinearMap {
  public let map: any LinearMap
  /// w, one a measurement.
  public let weights: Tensor<Double>
  public let nearNormal: Spectrum?

  public var input: ImageShape { map.input }
  public var output: ImageShape { map.output }

  /// Throws where there isn't one weight a measurement.
  public init(_ map: any LinearMap, weights: Tensor<Double>) throws {
    guard weights.count == map.output.count else {
      throw ProblemError.shapeMismatch(
        what: "weights of a map", found: [weights.count], expected: [map.output.count])
    }
    (self.map, self.weights) = (map, weights)
    // Weights count by their mean square.
    nearNormal = try map.nearNormal?.scaled(
      by: weights.view.dot(weights.view) / Double(max(weights.count, 1)))
  }

  public func apply(_ x: Vector, into y: Vector, _ scratch: Scratch) throws {
    try map.apply(x, into: y, scratch)
    y.setEach(scratch.pool, y, weights.view) { $0 * $1 }
  }

  public func adjoint(_ u: Vector, into x: Vector, _ scratch: Scratch) throws {
    try scratch.scope {
      let weighted = try scratch.take(output.count)
      weighted.setEach(scratch.pool, u, weights.view) { $0 * $1 }
      try map.adjoint(weighted, into: x, scratch)
    }
  }
}
