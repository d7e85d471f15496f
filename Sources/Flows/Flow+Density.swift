import AIPOKernels

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

extension Flow: LatentPrior {
  // MARK: Between images and latents

  public func encode(_ x: Tensor<Scalar>) throws -> (latents: Tensor<Scalar>, logDet: [Double]) {
    try check(x)
    return try withPass(count: x.shape[0], atLatents: false, cotangents: false, parameterGradients: false) {
      pass in
      pass.values.copy(from: x)
      for layer in layers { try layer.forward(pass) }
      return (try gathered(pass.latents, count: pass.count), pass.logDet.elements)
    }
  }

  public func decode(_ latents: Tensor<Scalar>) throws -> (images: Tensor<Scalar>, logDet: [Double]) {
    try check(latents: latents)
    let count = latents.shape[0]
    return try withPass(count: count, atLatents: true, cotangents: false, parameterGradients: false) { pass in
      try scatter(latents, into: pass.latents)
      for layer in layers.reversed() { try layer.inverse(pass) }
      let shape = [count, imageShape.height, imageShape.width, imageShape.channels]
      return (try pass.values.tensor(shape: shape), pass.logDet.elements)
    }
  }

  public func decodeGradient(
    at images: Tensor<Scalar>, imageCotangent: Tensor<Scalar>, logDetCotangent: [Double]
  ) throws -> Tensor<Scalar> {
    try throughDecode(images, imageCotangent, logDetCotangent, parameterGradients: false) { pass in
      try gathered(pass.latentCotangents, count: pass.count)
    }
  }

  /// Given x, ∂φ/∂ε at ε = G⁻¹(x) and ∂φ/∂ log|det ∂ε/∂x| of some scalar φ (one an image), gives
  /// `∂φ/∂x = Jᵀ ε̄ + ℓ̄ ∇ₓ log|det J|`.
  public func encodeGradient(
    at images: Tensor<Scalar>, latentCotangent: Tensor<Scalar>, logDetCotangent: [Double]
  ) throws -> Tensor<Scalar> {
    try check(images)
    try check(latents: latentCotangent)
    let count = images.shape[0]
    guard latentCotangent.shape[0] == count, logDetCotangent.count == count else {
      throw FlowError.shapeMismatch(
        what: "cotangents", found: [latentCotangent.shape[0], logDetCotangent.count],
        expected: [count, count])
    }
    var gradient: [Scalar] = []
    try withGradientPasses(images, parameterGradients: false) { pass, part, back in
      try scatter(try latentCotangent.rows(part), into: pass.latentCotangents)
      pass.logDetCotangent.copy(from: Array(logDetCotangent[part]))
      try back()
      gradient += pass.cotangent.elements
    }
    return try Tensor(shape: images.shape, elements: gradient)
  }

  // MARK: Density

  public func evaluate(_ x: Tensor<Scalar>) throws -> [Double] {
    try check(x)
    return try withPass(count: x.shape[0], atLatents: false, cotangents: false, parameterGradients: false) {
      pass in
      pass.values.copy(from: x)
      for layer in layers { try layer.forward(pass) }
      return logProb(pass)
    }
  }

  public func evaluateWithGradient(
    _ x: Tensor<Scalar>
  ) throws -> (logProb: [Double], gradient: Tensor<Scalar>) {
    var values: [Double] = []
    var gradient: [Scalar] = []
    try withGradientPasses(x, parameterGradients: false) { pass, _, back in
      values += logProb(pass)
      setBaseCotangent(pass, weight: 1)
      try back()
      gradient += pass.cotangent.elements
    }
    return (values, try Tensor(shape: x.shape, elements: gradient))
  }

  /// `log p(x)` in nats, one an image.
  ///
  /// - Throws: `FlowError.notFinite` where the density isn't finite: outside a uniform base's support, or for an image
  ///   so far from all data that the flow overflows.
  public func logProb(_ x: Tensor<Scalar>) throws -> [Double] {
    let values = try evaluate(x)
    if let image = values.firstIndex(where: { !$0.isFinite }) {
      throw FlowError.notFinite(image: image, value: values[image])
    }
    return values
  }

  /// The negative log-likelihood of each image in nats, and the gradient of its mean over the batch with respect to all
  /// parameters.
  public func trainingGradient(_ x: Tensor<Scalar>, gradient result: inout [Scalar]) throws -> [Double] {
    var values: [Double] = []
    try withGradientPasses(x, parameterGradients: true) { pass, part, back in
      values += logProb(pass).map { -$0 }
      setBaseCotangent(pass, weight: -1 / Double(x.shape[0]))
      try back()
      if part.upperBound == x.shape[0] { result = gradient.elements }
    }
    return values
  }

  /// Gradient with respect to all parameters of a scalar φ of images decoded from latents, given `x = G(ε)`, ∂φ/∂x and
  /// ∂φ/∂ log|det ∂x/∂ε|.
  public func decodeParameterGradient(
    at images: Tensor<Scalar>, imageCotangent: Tensor<Scalar>, logDetCotangent: [Double]
  ) throws -> [Scalar] {
    try throughDecode(images, imageCotangent, logDetCotangent, parameterGradients: true) { _ in
      gradient.elements
    }
  }

  /// A pass back through `decode`, from the images that it gave.
  private func throughDecode<R>(
    _ images: Tensor<Scalar>, _ imageCotangent: Tensor<Scalar>, _ logDetCotangent: [Double],
    parameterGradients: Bool, _ body: (FlowPass<Scalar>) throws -> R
  ) throws -> R {
    try check(images)
    try check(imageCotangent)
    let count = images.shape[0]
    guard imageCotangent.shape == images.shape, logDetCotangent.count == count else {
      throw FlowError.shapeMismatch(
        what: "cotangents", found: [imageCotangent.shape.first ?? 0, logDetCotangent.count],
        expected: [count, count])
    }
    return try withPass(
      count: count, atLatents: false, cotangents: true, parameterGradients: parameterGradients
    ) { pass in
      pass.values.copy(from: images)
      pass.cotangent.copy(from: imageCotangent)
      pass.logDetCotangent.copy(from: logDetCotangent)
      if parameterGradients { gradient.fill(0) }
      for layer in layers { try layer.inverseVJP(pass) }
      return try body(pass)
    }
  }

  // MARK: Base density

  private static var halfLogTwoPi: Double { 0.5 * log(2 * Double.pi) }

  /// `log p_base(ε) + log-det` of the latents in a pass.
  private func logProb(_ pass: FlowPass<Scalar>) -> [Double] {
    var result = pass.logDet.elements
    var offset = 0
    for size in latentSizes {
      for i in 0..<pass.count {
        let start = pass.count * offset + i * size
        result[i] += baseLogProb(pass.latents[start..<start + size])
      }
      offset += size
    }
    return result
  }

  private func baseLogProb(_ latents: Memory<Scalar>) -> Double {
    switch base {
    case .gaussian, .learnedGaussian:
      return -0.5 * Kernel.dot(latents, latents) - Double(latents.count) * Self.halfLogTwoPi
    case .uniform:
      for i in 0..<latents.count where !(latents[i] >= 0 && latents[i] <= 1) {
        return latents[i].isNaN ? .nan : -.infinity
      }
      return 0
    }
  }

  /// Sets the latents' cotangents to weight·∇log p_base, and those of the log-determinants to weight.
  private func setBaseCotangent(_ pass: FlowPass<Scalar>, weight: Double) {
    pass.logDetCotangent.fill(weight)
    switch base {
    case .gaussian, .learnedGaussian:
      let factor = Scalar(-weight)
      for i in 0..<pass.latents.count { pass.latentCotangents[i] = factor * pass.latents[i] }
    case .uniform:
      pass.latentCotangents.fill(0)
    }
  }

  public func baseLogProbWithGradient(
    _ latents: Tensor<Scalar>
  ) throws -> (logProb: [Double], gradient: Tensor<Scalar>) {
    try check(latents: latents)
    let memory = try Storage<Scalar>(count: latents.count)
    memory.memory.copy(from: latents)
    let values = (0..<latents.shape[0]).map { i in
      baseLogProb(memory.memory[i * dimension..<(i + 1) * dimension])
    }
    var gradient = try Tensor<Scalar>(shape: latents.shape)
    if base != .uniform {
      gradient.withUnsafeMutableBufferPointer { out in
        for i in out.indices { out[i] = -memory.memory[i] }
      }
    }
    return (values, gradient)
  }

  // MARK: Sampling

  /// Latents of draws at a temperature T: ε ~ N(0, T²I), or for a uniform base ½ + T(u − ½).
  ///
  /// A draw is a function of the seed and its index alone.
  public func sampleLatents(indices: Range<Int>, temperature: Double, seed: UInt64) throws -> Tensor<Scalar> {
    var latents = try Tensor<Scalar>(shape: [indices.count, dimension])
    latents.withUnsafeMutableBufferPointer { out in
      var next = 0
      for index in indices {
        var random = Philox(seed: seed, index: UInt64(index), purpose: .sample)
        for _ in 0..<dimension {
          out[next] = Scalar(
            base == .uniform ? 0.5 + temperature * (random.uniform() - 0.5) : temperature * random.normal())
          next += 1
        }
      }
    }
    return latents
  }

  /// Draws `[n, h, w, c]` of the given indices. Values may lie outside [0, 1], and may be non-finite where the flow
  /// overflows.
  public func sample(indices: Range<Int>, temperature: Double = 1, seed: UInt64) throws -> Tensor<Scalar> {
    try decode(try sampleLatents(indices: indices, temperature: temperature, seed: seed)).images
  }
}
