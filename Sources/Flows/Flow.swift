import AIPOKernels

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// How a gradient through `encode` comes by the layers' inputs on its way back.
public enum GradientMemory: Sendable, Hashable {
  /// Each is recomputed from the layer's output: memory doesn't grow with depth. Where a coupling scales a value down
  /// below the rounding of its neighbours, which happens far from the data, what is recomputed is wrong and the gradient
  /// with it, or not finite.
  case flat
  /// The inputs of layers that can lose digits are kept, of the whole batch.
  case kept
  /// `kept`, a part of the batch at a time, so that what is kept takes at most so many bytes; `flat` where one image
  /// alone takes more. An image's gradient has the same bits in any batch.
  case upTo(bytes: Int)

  /// Up to 256 MB.
  public static let automatic = GradientMemory.upTo(bytes: 1 << 28)
}

/// A normalizing flow on images of one size: an exact density, with all its gradients.
///
/// `log p(x) = log p_base(ε) + log|det ∂ε/∂x|`, ε = G⁻¹(x), in nats with x on the scale that the flow was trained on
/// ([0, 1] for the shipped priors). Batches are `[n, h, w, c]`. Latents are `[n, d]`: what leaves at the first split
/// comes first, what remains after the last layer comes last, each in the order height, width, channel.
///
/// One call runs at a time; a second caller waits.
public final class Flow<Scalar: KernelScalar>: @unchecked Sendable {
  /// The description that the flow was built from; nil if it was built from layers.
  public let spec: FlowSpec?
  public let imageShape: ImageShape
  public let base: FlowSpec.Base
  public let pool: ThreadPool

  let layers: [any FlowLayer<Scalar>]
  /// Values of one image that leave at each split, and at the end.
  let latentSizes: [Int]

  private let named: [(name: String, parameter: LayerParameter<Scalar>)]
  private let trainable: Storage<Scalar>
  private let gradientStorage: Storage<Scalar>
  private let fixed: Storage<Scalar>

  private let lock = Lock()
  private var chosenMemory = GradientMemory.automatic
  let workspaces: [Workspace<Scalar>]
  let doubles = Workspace<Double>()

  /// A flow with random parameters (as for training) for images of the given size.
  ///
  /// - Parameters:
  ///   - seed: of the random parameters.
  ///   - pool: the threads to work on; by default as many as the process may use.
  /// - Throws: `FlowError` if the spec is invalid or doesn't accept the size, `TensorError` without memory.
  public convenience init(
    spec: FlowSpec, imageShape: ImageShape, seed: UInt64 = 0,
    pool: ThreadPool = ThreadPool(threads: ThreadPool.availableCores)
  ) throws {
    let shapes = try spec.shapes(from: imageShape)
    let learned = spec.base == .learnedGaussian
    var layers: [any FlowLayer<Scalar>] = []
    for (layer, shape) in zip(try spec.flattened(), shapes) {
      switch layer {
      case .actnorm: layers.append(Actnorm(channels: shape.channels))
      case .conv1x1(let form): layers.append(try Conv1x1(channels: shape.channels, form: form))
      case .coupling(let coupling): layers.append(Coupling(coupling))
      case .maskedAffine(let masked): layers.append(MaskedAffine(masked))
      case .permutation(let order): layers.append(Permutation(order))
      case .squeeze: layers.append(Squeeze())
      case .split: layers.append(Split(learnedBase: learned))
      case .logistic: layers.append(Logistic())
      case .repeated: preconditionFailure("the layers are flattened")
      }
    }
    try self.init(layers: layers, imageShape: imageShape, base: spec.base, seed: seed, pool: pool, spec: spec)
  }

  /// A flow of the given layers, one's own among them.
  public convenience init(
    layers: [any FlowLayer<Scalar>], imageShape: ImageShape, base: FlowSpec.Base = .gaussian,
    seed: UInt64 = 0,
    pool: ThreadPool = ThreadPool(threads: ThreadPool.availableCores)
  ) throws {
    try self.init(layers: layers, imageShape: imageShape, base: base, seed: seed, pool: pool, spec: nil)
  }

  private init(
    layers: [any FlowLayer<Scalar>], imageShape: ImageShape, base: FlowSpec.Base, seed: UInt64,
    pool: ThreadPool,
    spec: FlowSpec?
  ) throws {
    self.spec = spec
    self.imageShape = imageShape
    self.base = base
    self.pool = pool
    self.layers = layers + [Finish<Scalar>(learnedBase: base == .learnedGaussian)]
    workspaces = (0..<pool.threads).map { _ in Workspace() }

    var shape = imageShape
    var sizes: [Int] = []
    for layer in self.layers {
      let next = try layer.configure(input: shape)
      if layer is Finish<Scalar> {
        sizes.append(next.count)
      } else if next.count < shape.count {
        sizes.append(shape.count - next.count)
      }
      shape = next
    }
    latentSizes = sizes

    var named: [(name: String, parameter: LayerParameter<Scalar>)] = []
    for (k, layer) in self.layers.enumerated() {
      let prefix = layer is Finish<Scalar> ? "base" : "layers.\(k)"
      named += layer.parameters.map { ("\(prefix).\($0.name)", $0) }
    }
    self.named = named
    let trainableCount = named.reduce(0) { $0 + ($1.parameter.isTrainable ? $1.parameter.count : 0) }
    trainable = try Storage(count: trainableCount)
    gradientStorage = try Storage(count: trainableCount)
    fixed = try Storage(count: named.reduce(0) { $0 + $1.parameter.count } - trainableCount)
    var (trainableOffset, fixedOffset) = (0, 0)
    for (_, parameter) in named {
      let count = parameter.count
      if parameter.isTrainable {
        let range = trainableOffset..<trainableOffset + count
        parameter.bind(values: trainable.memory[range], gradient: gradientStorage.memory[range])
        trainableOffset += count
      } else {
        parameter.bind(values: fixed.memory[fixedOffset..<fixedOffset + count], gradient: nil)
        fixedOffset += count
      }
    }
    for (k, layer) in self.layers.enumerated() {
      for parameter in layer.parameters {
        var random = Philox(seed: seed, index: UInt64(k), purpose: .weights)
        parameter.values.copy(from: parameter.initial(&random).map { Scalar($0) })
      }
      try layer.refresh()
    }
  }

  /// How gradients through `encode` come by the layers' inputs; `automatic` at first.
  public var gradientMemory: GradientMemory {
    get { lock.withLock { chosenMemory } }
    set { lock.withLock { chosenMemory = newValue } }
  }

  /// Values in one image, and in its latents.
  public var dimension: Int { imageShape.count }

  // MARK: Parameters

  /// Trainable numbers.
  public var parameterCount: Int { trainable.memory.count }

  /// All trainable numbers, in the order of the layers.
  public var parameters: [Scalar] { lock.withLock { trainable.memory.elements } }

  /// Replaces all trainable numbers.
  ///
  /// - Throws: `FlowError.unusableParameters` if a matrix is singular or a value isn't finite; the flow must then be
  ///   given usable ones before it is used again.
  public func setParameters(_ values: [Scalar]) throws {
    guard values.count == parameterCount else {
      throw FlowError.shapeMismatch(
        what: "parameter vector", found: [values.count], expected: [parameterCount])
    }
    try lock.withLock {
      trainable.memory.copy(from: values)
      for (name, parameter) in named where parameter.isTrainable {
        guard Kernel.dot(parameter.values, parameter.values).isFinite else {
          throw FlowError.unusableParameters(name: name, reason: "it holds a value that is not finite")
        }
      }
      try refresh()
    }
  }

  private func refresh() throws {
    for (k, layer) in layers.enumerated() {
      do {
        try layer.refresh()
      } catch FlowError.unusableParameters(let name, let reason) {
        throw FlowError.unusableParameters(name: "layers.\(k).\(name)", reason: reason)
      }
    }
  }

  /// All numbers by name, the fixed ones included: what a checkpoint holds.
  public var namedTensors: [NamedTensor] {
    lock.withLock {
      named.map { name, parameter in
        NamedTensor(name: name, shape: parameter.shape, scalars: parameter.values.elements)
      }
    }
  }

  /// Takes all numbers from tensors with the names and shapes of `namedTensors`.
  public func load(_ tensors: [NamedTensor]) throws {
    var byName: [String: NamedTensor] = [:]
    for tensor in tensors {
      guard byName.updateValue(tensor, forKey: tensor.name) == nil else {
        throw FlowError.tensorMismatch(name: tensor.name, reason: "appears twice")
      }
    }
    for (name, parameter) in named {
      guard let tensor = byName.removeValue(forKey: name) else {
        throw FlowError.tensorMismatch(name: name, reason: "is missing")
      }
      guard tensor.shape == parameter.shape else {
        throw FlowError.tensorMismatch(
          name: name, reason: "has shape \(tensor.shape), expected \(parameter.shape)")
      }
    }
    if let extra = byName.keys.min() {
      throw FlowError.tensorMismatch(name: extra, reason: "belongs to no layer of this flow")
    }
    let values = Dictionary(uniqueKeysWithValues: tensors.map { ($0.name, $0.values) })
    try lock.withLock {
      for (name, parameter) in named {
        let numbers: [Scalar] = values[name]!.scalars(as: Scalar.self)
        guard numbers.allSatisfy({ $0.isFinite }) else {
          throw FlowError.unusableParameters(name: name, reason: "it holds a value that is not finite")
        }
        parameter.values.copy(from: numbers)
      }
      try refresh()
    }
  }

  /// Data-dependent initialisation: sets every actnorm that has none from the batch on its way forward.
  public func initialize(from batch: Tensor<Scalar>) throws {
    try check(batch)
    try withPass(count: batch.shape[0], atLatents: false, cotangents: false, parameterGradients: false) {
      pass in
      pass.values.copy(from: batch)
      for layer in layers {
        try layer.initialize(pass)
        try layer.refresh()
        try layer.forward(pass)
      }
    }
  }

  // MARK: Passes

  /// Bytes of scratch memory that the flow holds: the most that any pass so far has needed.
  public var workspaceBytes: Int {
    lock.withLock {
      workspaces.reduce(0) { $0 + $1.capacity } * MemoryLayout<Scalar>.stride
        + doubles.capacity * MemoryLayout<Double>.stride
    }
  }

  func withPass<R>(
    count: Int, atLatents: Bool, cotangents: Bool, parameterGradients: Bool,
    _ body: (FlowPass<Scalar>) throws -> R
  ) throws -> R {
    try lock.withLock {
      try withLockedPass(
        count: count, atLatents: atLatents, cotangents: cotangents, parameterGradients: parameterGradients,
        body)
    }
  }

  private func withLockedPass<R>(
    count: Int, atLatents: Bool, cotangents: Bool, parameterGradients: Bool,
    _ body: (FlowPass<Scalar>) throws -> R
  ) throws -> R {
    try workspaces[0].scope {
      try doubles.scope {
        let pass = try FlowPass(
          count: count, shape: imageShape, dimension: dimension, atLatents: atLatents,
          wantsCotangents: cotangents, wantsParameterGradients: parameterGradients, pool: pool,
          workspaces: workspaces, doubles: doubles)
        return try body(pass)
      }
    }
  }

  /// Passes from images to latents that can go back, one for each part of the batch. `body` is called at the latents:
  /// it sets their cotangents and calls `back`, after which the pass holds the images' cotangent.
  func withGradientPasses(
    _ images: Tensor<Scalar>, parameterGradients: Bool,
    _ body: (_ pass: FlowPass<Scalar>, _ part: Range<Int>, _ back: () throws -> Void) throws -> Void
  ) throws {
    try check(images)
    let count = images.shape[0]
    try lock.withLock {
      if parameterGradients { gradient.fill(0) }
      let (keeps, size) = plan(count: count)
      var start = 0
      repeat {
        let part = start..<min(start + size, count)
        try withLockedPass(
          count: part.count, atLatents: false, cotangents: true, parameterGradients: parameterGradients
        ) { pass in
          pass.values.copy(from: part.count == count ? images : try images.rows(part))
          var inputs: [Memory<Scalar>?] = []
          for layer in layers {
            inputs.append(keeps && layer.losesInput ? try copy(of: pass.values) : nil)
            try layer.forward(pass)
          }
          try body(pass, part) {
            for (layer, input) in zip(layers, inputs).reversed() {
              try layer.forwardVJP(pass)
              if let input { pass.values.copy(from: input) }
            }
          }
        }
        start += size
      } while start < count
    }
  }

  /// Whether inputs are kept, and of how many images at a time.
  private func plan(count: Int) -> (keeps: Bool, images: Int) {
    let all = max(count, 1)
    switch chosenMemory {
    case .flat: return (false, all)
    case .kept: return (true, all)
    case .upTo(let bytes):
      // No layer's input is larger than the image.
      let layers = layers.count { $0.losesInput }
      let images = bytes / max(1, layers * dimension * MemoryLayout<Scalar>.stride)
      return images > 0 ? (true, min(images, all)) : (false, all)
    }
  }

  private func copy(of values: Memory<Scalar>) throws -> Memory<Scalar> {
    let copy = try workspaces[0].take(values.count)
    copy.copy(from: values)
    return copy
  }

  func check(_ images: Tensor<Scalar>) throws(FlowError) {
    let expected = [images.shape.first ?? 0, imageShape.height, imageShape.width, imageShape.channels]
    guard images.shape == expected else {
      throw .shapeMismatch(what: "image batch", found: images.shape, expected: expected)
    }
  }

  func check(latents: Tensor<Scalar>) throws(FlowError) {
    let expected = [latents.shape.first ?? 0, dimension]
    guard latents.shape == expected else {
      throw .shapeMismatch(what: "latents", found: latents.shape, expected: expected)
    }
  }

  /// The gradient that the passes with parameter gradients accumulate into.
  var gradient: Memory<Scalar> { gradientStorage.memory }

  /// From `[level][n, size]` to `[n, d]`.
  func gathered(_ levels: Memory<Scalar>, count: Int) throws -> Tensor<Scalar> {
    let result = try Storage<Scalar>(count: count * dimension)
    eachLatentRun(count: count) { byLevel, byImage in
      result.memory[byImage].copy(from: levels[byLevel])
    }
    return try result.memory.tensor(shape: [count, dimension])
  }

  /// From `[n, d]` to `[level][n, size]`.
  func scatter(_ latents: Tensor<Scalar>, into levels: Memory<Scalar>) throws {
    let source = try Storage<Scalar>(count: latents.count)
    source.memory.copy(from: latents)
    eachLatentRun(count: latents.shape[0]) { byLevel, byImage in
      levels[byLevel].copy(from: source.memory[byImage])
    }
  }

  private func eachLatentRun(count: Int, _ body: (_ byLevel: Range<Int>, _ byImage: Range<Int>) -> Void) {
    var offset = 0
    for size in latentSizes {
      for i in 0..<count {
        let byLevel = count * offset + i * size
        let byImage = i * dimension + offset
        body(byLevel..<byLevel + size, byImage..<byImage + size)
      }
      offset += size
    }
  }
}
