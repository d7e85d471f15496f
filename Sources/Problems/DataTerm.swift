import AIPOFlows
import AIPOKernels
import AIPOPriors

/// `L_recon(x) = −log p(y | f(h(x)))` of one image, in nats with all constants: what its measurements say.
///
/// x is what a prior is a density of, h(x) the image that it stands for, `Prior.encoding`.
public struct DataTerm: Energy {
  public let map: any Map
  public let noise: any NoiseModel
  /// y, m values.
  public let observation: Tensor<Double>
  /// h; nil for the identity.
  public let encoding: Requantization?

  public init(
    map: any Map, noise: any NoiseModel, observation: Tensor<Double>, encoding: Requantization? = nil
  ) {
    self.map = map
    self.noise = noise
    self.observation = observation
    self.encoding = encoding
  }

  public var count: Int { map.input.count }

  public func evaluate(_ x: Vector, gradient: Vector?, _ scratch: Scratch) throws -> Double {
    guard let encoding else { return try evaluate(pixels: x, gradient: gradient, scratch) }
    return try scratch.scope {
      let pixels = try scratch.take(count)
      encoding.decode(x, into: pixels, scratch.pool)
      let value = try evaluate(pixels: pixels, gradient: gradient, scratch)
      if let gradient { encoding.pullBack(gradient, at: x, scratch.pool) }
      return value
    }
  }

  /// The same of an image v = h(x), with its gradient in v.
  public func evaluate(pixels: Vector, gradient: Vector?, _ scratch: Scratch) throws -> Double {
    try scratch.scope {
      let prediction = try scratch.take(observation.count)
      try map.apply(pixels, into: prediction, scratch)
      let value = try noise.negativeLogLikelihood(
        observation.view, prediction: prediction, gradient: prediction, scratch)
      if let gradient { try map.pullback(prediction, at: pixels, into: gradient, scratch) }
      return value
    }
  }

  /// How far an image is from its observation in units of what the noise leads to expect, `NoiseModel.misfit`.
  public func misfit(pixels: Vector, _ scratch: Scratch) throws -> Double {
    try scratch.scope {
      let prediction = try scratch.take(observation.count)
      try map.apply(pixels, into: prediction, scratch)
      return try noise.misfit(observation.view, prediction: prediction, scratch)
    }
  }
}

extension Requantization {
  /// `pixels ← h(x)`
  public func decode(_ x: Vector, into pixels: Vector, _ pool: ThreadPool? = nil) {
    pixels.setEach(pool, x) { pixel($0) }
  }

  /// `x ← h⁻¹(pixels)`. x may be pixels.
  public func encode(_ pixels: Vector, into x: Vector, _ pool: ThreadPool? = nil) {
    x.setEach(pool, pixels) { value($0) }
  }

  /// `g ← h′(x) g`: the gradient in x of what has the gradient g in h(x).
  public func pullBack(_ g: Vector, at x: Vector, _ pool: ThreadPool? = nil) {
    g.setEach(pool, g, x) { $0 * slope($1) }
  }
}

extension Requantization? {
  /// `pixels ← h(x)`; x itself without h.
  public func decode(_ x: Vector, into pixels: Vector, _ pool: ThreadPool? = nil) {
    if let self { self.decode(x, into: pixels, pool) } else { pixels.set(x, pool) }
  }

  /// `x ← h⁻¹(pixels)`; the pixels themselves without h. x may be pixels.
  public func encode(_ pixels: Vector, into x: Vector, _ pool: ThreadPool? = nil) {
    if let self { self.encode(pixels, into: x, pool) } else { x.set(pixels, pool) }
  }
}
