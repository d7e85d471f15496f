import AIPOKernels
import AIPOPlatform

extension Flow {
  /// Layers made by hand count as smooth.
  public var isSmooth: Bool { spec?.isSmooth ?? true }

  // MARK: Between images and latents

  public func encode(_ x: Tensor<Scalar>) throws -> (latents: Tensor<Scalar>, logDet: [Double]) {
    try check(x)
    var latents = try Tensor<Scalar>(shape: [x.shape[0], dimension])
    var logDet = [Double](repeating: 0, count: x.shape[0])
    try encode(x, latents: &latents, logDet: &logDet)
    return (latents, logDet)
  }

  /// `encode` into memory of the right size.
  public func encode(_ x: Tensor<Scalar>, latents: inout Tensor<Scalar>, logDet: inout [Double]) throws {
    try check(x)
    try check(latents: latents)
    try check(latents, logDet.count, of: x)
    let d = dimension
    try latents.withMemory { latents in
      try logDet.withUnsafeMutableBufferPointer { logDet in
        try there(.forward, count: x.shape[0]) { pass, images in
          pass.values.copy(from: x, rows: images)
        } finish: { pass, images in
          gather(
            pass.latents, count: pass.count, into: latents[images.lowerBound * d..<images.upperBound * d])
          for (k, i) in images.enumerated() { logDet[i] = pass.logDet[k] }
        }
      }
    }
  }

  public func decode(_ latents: Tensor<Scalar>) throws -> (images: Tensor<Scalar>, logDet: [Double]) {
    try check(latents: latents)
    let count = latents.shape[0]
    var images = try Tensor<Scalar>(
      shape: [count, imageShape.height, imageShape.width, imageShape.channels])
    var logDet = [Double](repeating: 0, count: count)
    try decode(latents, images: &images, logDet: &logDet)
    return (images, logDet)
  }

  /// `decode` into memory of the right size.
  public func decode(_ latents: Tensor<Scalar>, images: inout Tensor<Scalar>, logDet: inout [Double]) throws {
    try check(latents: latents)
    try check(images)
    try check(images, logDet.count, of: latents)
    let d = dimension
    try images.withMemory { values in
      try logDet.withUnsafeMutableBufferPointer { logDet in
        try there(.inverse, count: latents.shape[0]) { pass, images in
          scatter(latents, rows: images, into: pass.latents)
        } finish: { pass, images in
          values[images.lowerBound * d..<images.upperBound * d].copy(from: pass.values)
          for (k, i) in images.enumerated() { logDet[i] = pass.logDet[k] }
        }
      }
    }
  }

  /// Passes through all layers; `start` sets what a pass begins with, `finish` takes what it ends with.
  private func there(
    _ direction: Kernel<Scalar>.Direction, count: Int,
    _ start: (_ pass: FlowPass<Scalar>, _ images: Range<Int>) throws -> Void,
    finish: (_ pass: FlowPass<Scalar>, _ images: Range<Int>) throws -> Void
  ) throws {
    let plan = try plan(.value, count: count)
    try net.using {
      try passes(count, plan, atLatents: direction == .inverse) { pass, images in
        try start(pass, images)
        try go(direction, pass)
        try finish(pass, images)
      }
    }
  }

  /// `decode`, and the gradient of φ by what `decode` computed on its way: `cotangents` is called with the images of a
  /// part of the batch, sets `∂φ/∂x` and `∂φ/∂ log|det ∂x/∂ε|` of theirs, and the gradient of these images follows. A
  /// part is all of the batch unless memory is short. `cotangents` must not call this prior.
  public func decodeWithGradient(
    _ latents: Tensor<Scalar>, _ result: inout DecodeGradient<Scalar>,
    cotangents: (_ result: inout DecodeGradient<Scalar>, _ part: Range<Int>) throws -> Void
  ) throws {
    try check(latents: latents)
    let count = latents.shape[0]
    try result.resize(count: count, imageShape)
    let d = dimension
    let plan = try plan(.gradient, count: count)
    try net.using {
      try withScratch { scratch in
        try forParts(count, plan) { part in
          try result.images.withMemory { values in
            try result.logDet.withUnsafeMutableBufferPointer { logDet in
              try share(part, scratch, plan) { pass, images in
                try begin(pass, images, plan, atLatents: true)
                scatter(latents, rows: images, into: pass.latents)
                try go(.inverse, pass)
                values[images.lowerBound * d..<images.upperBound * d].copy(from: pass.values)
                for (k, i) in images.enumerated() { logDet[i] = pass.logDet[k] }
              }
            }
          }
          try cotangents(&result, part)
          let (imageCotangent, logDetCotangent) = (result.imageCotangent, result.logDetCotangent)
          guard imageCotangent.shape == result.images.shape, logDetCotangent.count == count else {
            throw FlowError.shapeMismatch(
              what: "cotangents", found: imageCotangent.shape, expected: result.images.shape)
          }
          try result.gradient.withMemory { gradient in
            try share(part, scratch, plan) { pass, images in
              pass.turnBack()
              pass.cotangent.copy(from: imageCotangent, rows: images)
              for (k, i) in images.enumerated() { pass.logDetCotangent[k] = logDetCotangent[i] }
              try goBack(.inverse, pass)
              gather(
                pass.latentCotangents, count: pass.count,
                into: gradient[images.lowerBound * d..<images.upperBound * d])
            }
          }
        }
      }
    }
  }

  public func decodeGradient(
    at images: Tensor<Scalar>, imageCotangent: Tensor<Scalar>, logDetCotangent: [Double]
  ) throws -> Tensor<Scalar> {
    let d = dimension
    var gradient = try Tensor<Scalar>(shape: [images.shape.first ?? 0, d])
    try gradient.withMemory { gradient in
      try throughDecode(images, imageCotangent, logDetCotangent, parameterGradient: nil) { pass, images in
        gather(
          pass.latentCotangents, count: pass.count,
          into: gradient[images.lowerBound * d..<images.upperBound * d])
      }
    }
    return gradient
  }

  /// Gradient with respect to all parameters of a scalar φ of images decoded from latents, given `x = G(ε)`, ∂φ/∂x and
  /// ∂φ/∂ log|det ∂x/∂ε|.
  public func decodeParameterGradient(
    at images: Tensor<Scalar>, imageCotangent: Tensor<Scalar>, logDetCotangent: [Double]
  ) throws -> [Scalar] {
    var result = [Scalar](repeating: 0, count: parameterCount)
    try result.withUnsafeMutableBufferPointer {
      try throughDecode(images, imageCotangent, logDetCotangent, parameterGradient: $0) { _, _ in }
    }
    return result
  }

  /// A pass back through `decode`, from the images that it gave: latents are recomputed on the way.
  private func throughDecode(
    _ images: Tensor<Scalar>, _ imageCotangent: Tensor<Scalar>, _ logDetCotangent: [Double],
    parameterGradient: UnsafeMutableBufferPointer<Scalar>?,
    _ body: (_ pass: FlowPass<Scalar>, _ images: Range<Int>) throws -> Void
  ) throws {
    try check(images)
    try check(imageCotangent)
    try check(imageCotangent, logDetCotangent.count, of: images)
    let count = images.shape[0]
    let gradient = parameterGradient.map { Memory($0) }
    // There is no way there that could have kept anything.
    let plan = try plan(gradient == nil ? .gradient : .parameterGradient, count: count, memory: .flat)
    try using(gradient) {
      try passes(count, plan) { pass, part in
        pass.values.copy(from: images, rows: part)
        pass.turnBack()
        pass.cotangent.copy(from: imageCotangent, rows: part)
        for (k, i) in part.enumerated() { pass.logDetCotangent[k] = logDetCotangent[i] }
        try goBack(.inverse, pass, fresh: part.lowerBound == 0 ? gradient : nil)
        try body(pass, part)
      }
    }
  }

  /// Given x, ∂φ/∂ε at ε = G⁻¹(x) and ∂φ/∂ log|det ∂ε/∂x| of some scalar φ (one an image), gives
  /// `∂φ/∂x = Jᵀ ε̄ + ℓ̄ ∇ₓ log|det J|`.
  public func encodeGradient(
    at images: Tensor<Scalar>, latentCotangent: Tensor<Scalar>, logDetCotangent: [Double]
  ) throws -> Tensor<Scalar> {
    try check(images)
    try check(latents: latentCotangent)
    try check(latentCotangent, logDetCotangent.count, of: images)
    let d = dimension
    var gradient = try Tensor<Scalar>(shape: images.shape)
    try gradient.withMemory { gradient in
      try thereAndBack(images, parameterGradient: nil) { pass, part in
        scatter(latentCotangent, rows: part, into: pass.latentCotangents)
        for (k, i) in part.enumerated() { pass.logDetCotangent[k] = logDetCotangent[i] }
      } finish: { pass, part in
        gradient[part.lowerBound * d..<part.upperBound * d].copy(from: pass.cotangent)
      }
    }
    return gradient
  }

  /// Passes from images to latents and back. `turn` is called at the latents and sets their cotangents, `finish` at the
  /// images.
  private func thereAndBack(
    _ x: Tensor<Scalar>, counting rows: Range<Int>? = nil,
    parameterGradient: UnsafeMutableBufferPointer<Scalar>?,
    _ turn: (_ pass: FlowPass<Scalar>, _ images: Range<Int>) throws -> Void,
    finish: (_ pass: FlowPass<Scalar>, _ images: Range<Int>) throws -> Void
  ) throws {
    let count = x.shape[0]
    let gradient = parameterGradient.map { Memory($0) }
    let plan = try plan(gradient == nil ? .gradient : .parameterGradient, count: count)
    try using(gradient) {
      try passes(count, plan) { pass, images in
        pass.values.copy(from: x, rows: images)
        if let rows { pass.count(rows) }
        try go(.forward, pass)
        pass.turnBack()
        try turn(pass, images)
        try goBack(.forward, pass, fresh: images.lowerBound == 0 ? gradient : nil)
        try finish(pass, images)
      }
    }
  }

  /// Calls `body` with passes, each begun for its images, that together take a batch through as the plan says.
  private func passes(
    _ count: Int, _ plan: FlowPlan, atLatents: Bool = false,
    _ body: (_ pass: FlowPass<Scalar>, _ images: Range<Int>) throws -> Void
  ) throws {
    try withScratch { scratch in
      try forParts(count, plan) { part in
        try share(part, scratch, plan) { pass, images in
          try begin(pass, images, plan, atLatents: atLatents)
          try body(pass, images)
        }
      }
    }
  }

  /// Runs `body`, which takes the parameters' gradients into `gradient` if there is one.
  private func using(_ gradient: Memory<Scalar>?, _ body: () throws -> Void) throws {
    guard let gradient else { return try net.using(body) }
    try net.withGradient(in: gradient, route, pool: pool, body)
  }

  // MARK: Density

  public func evaluate(_ x: Tensor<Scalar>) throws -> [Double] {
    var logProb = [Double](repeating: 0, count: x.shape.first ?? 0)
    try evaluate(x, logProb: &logProb)
    return logProb
  }

  /// `evaluate` into an array of the right length.
  public func evaluate(_ x: Tensor<Scalar>, logProb: inout [Double]) throws {
    try check(x)
    try check(x, logProb.count, of: x)
    try logProb.withUnsafeMutableBufferPointer { logProb in
      try there(.forward, count: x.shape[0]) { pass, images in
        pass.values.copy(from: x, rows: images)
      } finish: { pass, images in
        eachLogProb(pass) { k, value in logProb[images.lowerBound + k] = value }
      }
    }
  }

  public func evaluateWithGradient(
    _ x: Tensor<Scalar>
  ) throws -> (logProb: [Double], gradient: Tensor<Scalar>) {
    var logProb: [Double] = []
    var gradient = try Tensor<Scalar>(shape: x.shape)
    try evaluateWithGradient(x, logProb: &logProb, gradient: &gradient)
    return (logProb, gradient)
  }

  public func evaluateWithGradient(
    _ x: Tensor<Scalar>, logProb: inout [Double], gradient: inout Tensor<Scalar>
  ) throws {
    try check(x)
    if logProb.count != x.shape[0] { logProb = [Double](repeating: 0, count: x.shape[0]) }
    if gradient.shape != x.shape { gradient = try Tensor(shape: x.shape) }
    let d = dimension
    try gradient.withMemory { gradient in
      try logProb.withUnsafeMutableBufferPointer { logProb in
        try thereAndBack(x, parameterGradient: nil) { pass, images in
          eachLogProb(pass) { k, value in logProb[images.lowerBound + k] = value }
          setBaseCotangent(pass, weight: 1)
        } finish: { pass, images in
          gradient[images.lowerBound * d..<images.upperBound * d].copy(from: pass.cotangent)
        }
      }
    }
  }

  /// The part of some rows in `log p(x)` of one image, `[1, h, w, c]`, without rounding: parts of all rows add up to log p(x).
  ///
  /// Where x is a window of a larger image, the part is theirs in that image, to the bit, if there are ``FlowSpec/reach`` rows of
  /// it beside them, and windows and rows begin and end at multiples of twice ``FlowSpec/sideDivisor`` or at the image's edges.
  package func evaluate(_ x: Tensor<Scalar>, rows: Range<Int>) throws -> ExactSum {
    try check(x)
    var part = ExactSum()
    try there(.forward, count: 1) { pass, images in
      pass.values.copy(from: x, rows: images)
      pass.count(rows)
    } finish: { pass, _ in
      part = self.part(pass)
    }
    return part
  }

  /// The same, and the gradient of log p(x): at these rows that of the larger image, if there are twice as many rows beside them.
  package func evaluateWithGradient(_ x: Tensor<Scalar>, rows: Range<Int>, gradient: inout Tensor<Scalar>)
    throws -> ExactSum
  {
    try check(x)
    if gradient.shape != x.shape { gradient = try Tensor(shape: x.shape) }
    var part = ExactSum()
    try gradient.withMemory { gradient in
      try thereAndBack(x, counting: rows, parameterGradient: nil) { pass, _ in
        part = self.part(pass)
        setBaseCotangent(pass, weight: 1)
      } finish: { pass, _ in
        gradient.copy(from: pass.cotangent)
      }
    }
    return part
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
    var nats = [Double](repeating: 0, count: x.shape.first ?? 0)
    try trainingGradient(x, nats: &nats, gradient: &result)
    return nats
  }

  /// The same into given memory, which is used again where it has the right size.
  public func trainingGradient(_ x: Tensor<Scalar>, nats: inout [Double], gradient result: inout [Scalar])
    throws
  {
    try check(x)
    if nats.count != x.shape[0] { nats = [Double](repeating: 0, count: x.shape[0]) }
    if result.count != parameterCount { result = [Scalar](repeating: 0, count: parameterCount) }
    try nats.withUnsafeMutableBufferPointer { nats in
      try result.withUnsafeMutableBufferPointer { result in
        try thereAndBack(x, parameterGradient: result) { pass, images in
          eachLogProb(pass) { k, value in nats[images.lowerBound + k] = -value }
          setBaseCotangent(pass, weight: -1 / Double(x.shape[0]))
        } finish: { _, _ in
        }
      }
    }
  }

  // MARK: Base density

  private static var halfLogTwoPi: Double { 0.5 * log(2 * Double.pi) }

  /// Gives `log p_base(ε) + log-det` of each image of a pass.
  private func eachLogProb(_ pass: FlowPass<Scalar>, _ body: (_ image: Int, _ logProb: Double) -> Void) {
    for i in 0..<pass.count {
      var sum = pass.logDet[i]
      var offset = 0
      for size in route.latentSizes {
        let start = pass.count * offset + i * size
        sum += baseLogProb(pass.latents[start..<start + size])
        offset += size
      }
      body(i, sum)
    }
  }

  /// What the rows that are counted gave on their way to the latents, with `log p_base` of these.
  private func part(_ pass: FlowPass<Scalar>) -> ExactSum {
    var offset = 0
    for (size, height) in zip(route.latentSizes, route.latentHeights) {
      let length = size / height
      pass.addToCounted(height: height) { row in
        baseLogProb(pass.latents[offset + row * length..<offset + (row + 1) * length])
      }
      offset += size
    }
    return pass.countedPart
  }

  private func baseLogProb(_ latents: Memory<Scalar>) -> Double {
    switch base {
    case .gaussian, .learnedGaussian, .diagonalGaussian:
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
    case .gaussian, .learnedGaussian, .diagonalGaussian:
      pass.latentCotangents.copy(from: pass.latents, times: Scalar(-weight))
    case .uniform: pass.latentCotangents.fill(0)
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
    if base != .uniform { gradient.withMemory { $0.copy(from: memory.memory, times: -1) } }
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
    // Before latents are drawn that can't be decoded.
    _ = try plan(.value, count: indices.count)
    return try decode(try sampleLatents(indices: indices, temperature: temperature, seed: seed)).images
  }
}
