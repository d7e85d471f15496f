import AIPOFlows
import AIPOKernels
import AIPOPlatform

extension FlowChecks {
  /// The order at which `φ(p + hv) − φ(p) − h⟨g, v⟩` vanishes with h, for every gradient that a flow gives.
  public func measureGradients() throws -> [CheckResult] {
    let flow = try density(flow(), imageCount)
    return [
      try order("x-gradient of log p") { try logProbOrder(flow, attempt: $0) },
      try order("x-gradient through encode with its log-determinant") { try encodeOrder(flow, attempt: $0) },
      try order("ε-gradient through decode with its log-determinant") { try decodeOrder(flow, attempt: $0) },
      try order("ε-gradient of the base density") { try baseOrder(flow, attempt: $0) },
      try order("parameter gradient of the likelihood") { try trainingOrder(flow, attempt: $0) },
      try order("parameter gradient through decode") { try decodeParameterOrder(flow, attempt: $0) },
    ]
  }

  /// The gradients through `encode` with inputs recomputed on the way back against those with inputs kept: a layer whose
  /// way back restores its input wrongly shows here.
  public func measureGradientMemory() throws -> [CheckResult] {
    let flow = try density(flow(), imageCount)
    let chosen = flow.gradientMemory
    defer { flow.gradientMemory = chosen }
    let x = try images(imageCount, of: flow)
    let weights = weights(of: flow)
    let cotangent = try Tensor(shape: [imageCount, flow.dimension], elements: weights.values)
    func gradients(_ memory: GradientMemory) throws -> [(name: String, values: [Scalar])] {
      flow.gradientMemory = memory
      var parameterGradient: [Scalar] = []
      _ = try flow.trainingGradient(x, gradient: &parameterGradient)
      let encodeGradient = try flow.encodeGradient(
        at: x, latentCotangent: cotangent, logDetCotangent: weights.logDet)
      return [
        ("x-gradient of log p", try flow.evaluateWithGradient(x).gradient.elements),
        ("x-gradient through encode", encodeGradient.elements), ("parameter gradient", parameterGradient),
      ]
    }
    return zip(try gradients(.flat), try gradients(.kept)).map { flat, kept in
      CheckResult(
        property: "\(flat.name) with inputs recomputed against kept",
        measured: difference(flat.values.map { Double($0) }, kept.values.map { Double($0) }),
        bound: .atMost(bounds.gradientMemory))
    }
  }

  private func order(_ property: String, _ measure: (_ attempt: Int) throws -> Double) throws -> CheckResult {
    var measured = try measure(0)
    for attempt in 1..<max(attempts, 1) where !(measured >= bounds.taylorOrder) {
      measured = try measure(attempt)
    }
    return CheckResult(
      property: "Taylor order of the \(property)", measured: measured, bound: .atLeast(bounds.taylorOrder))
  }

  private func logProbOrder(_ flow: Flow<Scalar>, attempt: Int) throws -> Double {
    let x = try images(imageCount, of: flow, attempt: attempt)
    let gradient = try flow.evaluateWithGradient(x).gradient
    return try taylorOrder(at: x.elements, gradient: gradient.elements, attempt: attempt) {
      sum(try flow.evaluate(try Tensor(shape: x.shape, elements: $0)))
    }
  }

  private func encodeOrder(_ flow: Flow<Scalar>, attempt: Int) throws -> Double {
    let x = try images(imageCount, of: flow, attempt: attempt)
    let weights = weights(of: flow, attempt: attempt)
    let gradient = try flow.encodeGradient(
      at: x, latentCotangent: try Tensor(shape: [imageCount, flow.dimension], elements: weights.values),
      logDetCotangent: weights.logDet)
    return try taylorOrder(at: x.elements, gradient: gradient.elements, attempt: attempt) {
      let (latents, logDet) = try flow.encode(try Tensor(shape: x.shape, elements: $0))
      return weighted(latents, logDet, weights)
    }
  }

  private func decodeOrder(_ flow: Flow<Scalar>, attempt: Int) throws -> Double {
    let e = try latents(imageCount, of: flow, attempt: attempt)
    let x = try flow.decode(e).images
    let weights = weights(of: flow, attempt: attempt)
    let gradient = try flow.decodeGradient(
      at: x, imageCotangent: try Tensor(shape: x.shape, elements: weights.values),
      logDetCotangent: weights.logDet)
    return try taylorOrder(at: e.elements, gradient: gradient.elements, attempt: attempt) {
      let (images, logDet) = try flow.decode(try Tensor(shape: e.shape, elements: $0))
      return weighted(images, logDet, weights)
    }
  }

  private func baseOrder(_ flow: Flow<Scalar>, attempt: Int) throws -> Double {
    let e = try latents(imageCount, of: flow, attempt: attempt)
    let gradient = try flow.baseLogProbWithGradient(e).gradient
    return try taylorOrder(at: e.elements, gradient: gradient.elements, attempt: attempt) {
      sum(try flow.baseLogProbWithGradient(try Tensor(shape: e.shape, elements: $0)).logProb)
    }
  }

  private func trainingOrder(_ flow: Flow<Scalar>, attempt: Int) throws -> Double {
    let x = try images(imageCount, of: flow, attempt: attempt)
    let parameters = flow.parameters
    defer { try? flow.setParameters(parameters) }
    var gradient: [Scalar] = []
    _ = try flow.trainingGradient(x, gradient: &gradient)
    return try taylorOrder(at: parameters, gradient: gradient, attempt: attempt) {
      try flow.setParameters($0)
      return -sum(try flow.evaluate(x)) / Double(imageCount)
    }
  }

  private func decodeParameterOrder(_ flow: Flow<Scalar>, attempt: Int) throws -> Double {
    let e = try latents(imageCount, of: flow, attempt: attempt)
    let x = try flow.decode(e).images
    let weights = weights(of: flow, attempt: attempt)
    let parameters = flow.parameters
    defer { try? flow.setParameters(parameters) }
    let gradient = try flow.decodeParameterGradient(
      at: x, imageCotangent: try Tensor(shape: x.shape, elements: weights.values),
      logDetCotangent: weights.logDet)
    return try taylorOrder(at: parameters, gradient: gradient, attempt: attempt) {
      try flow.setParameters($0)
      let (images, logDet) = try flow.decode(e)
      return weighted(images, logDet, weights)
    }
  }

  // MARK: Parts

  /// Random cotangents of the values and of the log-determinants.
  func weights(of flow: Flow<Scalar>, attempt: Int = 0) -> (values: [Scalar], logDet: [Double]) {
    var random = Philox(seed: seed, index: UInt64(1_000_000 + attempt), purpose: .test)
    return (
      (0..<imageCount * flow.dimension).map { _ in Scalar(random.normal()) },
      (0..<imageCount).map { _ in random.normal() }
    )
  }

  private func weighted(
    _ values: Tensor<Scalar>, _ logDet: [Double], _ weights: (values: [Scalar], logDet: [Double])
  ) -> Double {
    zip(values.elements, weights.values).reduce(0.0) { $0 + Double($1.0) * Double($1.1) }
      + zip(logDet, weights.logDet).reduce(0.0) { $0 + $1.0 * $1.1 }
  }

  private func sum(_ values: [Double]) -> Double { values.reduce(0, +) }

  /// The order of the remainder over the three smallest halvings of h at which it stands clear of rounding; infinite
  /// where it never does, as φ is linear.
  func taylorOrder(
    at point: [Scalar], gradient: [Scalar], attempt: Int, _ value: ([Scalar]) throws -> Double
  ) throws -> Double {
    guard point.count == gradient.count else { return .nan }
    var random = Philox(seed: seed, index: UInt64(2_000_000 + attempt), purpose: .test)
    let direction = point.map { _ in random.normal() }
    let slope = zip(gradient, direction).reduce(0.0) { $0 + Double($1.0) * $1.1 }
    let start = try value(point)
    guard slope.isFinite, start.isFinite else { return .nan }
    var logs: [Double] = []
    var step = 0.05
    for _ in 0..<20 {
      let moved = try value(zip(point, direction).map { $0 + Scalar(step * $1) })
      let remainder = (moved - start - step * slope).magnitude
      // A remainder that isn't finite lies outside the support: too far.
      if remainder.isFinite {
        guard remainder > 1000 * Double.ulpOfOne * max(1, start.magnitude, moved.magnitude) else { break }
        logs.append(log2(remainder))
      }
      step /= 2
    }
    guard logs.count > 3 else { return .infinity }
    return (logs[logs.count - 4] - logs[logs.count - 1]) / 3
  }
}
