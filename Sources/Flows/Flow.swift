import AIPOKernels

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
  /// What passes go through: the layers, but for those that others have taken over.
  let steps: [Step]
  struct Step {
    let layer: any FlowLayer<Scalar>
    /// The layer again, if it keeps by itself what its way back needs.
    let keeping: (any KeepingLayer)?
    /// Which layers it stands for: this one, behind those that it has taken over.
    let layers: Range<Int>
  }
  /// Values of one image that leave at each split, and at the end.
  let latentSizes: [Int]
  /// The most rows that an image has on its way.
  let tallest: Int

  private let named: [(name: String, parameter: LayerParameter<Scalar>)]
  private let trainable: Storage<Scalar>
  /// Of each layer, where its parameters are in `named`, and its trainable numbers among all.
  private let owned: [(parameters: Range<Int>, trainable: Range<Int>)]
  private let fixed: Storage<Scalar>

  /// The gradient of all trainable numbers until the first way back through the layers has been made.
  var freshGradient: Memory<Scalar>?

  let lock = Lock()
  var chosenMemory = GradientMemory.automatic
  /// A pass on all threads, and passes on one thread each that share a batch.
  let whole: FlowPass<Scalar>
  let lanes: [FlowPass<Scalar>]

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
    try self.init(
      layers: Self.layers(of: spec, imageShape), imageShape: imageShape, base: spec.base,
      start: .random(seed),
      pool: pool, spec: spec)
  }

  /// A flow with the numbers of `tensors`, named and shaped as `namedTensors` are.
  ///
  /// - Throws: also `FlowError.tensorMismatch`, or `unusableParameters` for a singular matrix or a value that isn't finite.
  public convenience init(
    spec: FlowSpec, imageShape: ImageShape, tensors: [NamedTensor],
    pool: ThreadPool = ThreadPool(threads: ThreadPool.availableCores)
  ) throws {
    // Before anything is allocated on a spec's word.
    let (found, least) = (
      tensors.reduce(0) { $0 + $1.count }, try spec.weights(for: imageShape).reduce(0) { $0 + $1.count }
    )
    guard least <= found else {
      throw FlowError.shapeMismatch(what: "all tensors together", found: [found], expected: [least])
    }
    try self.init(
      layers: Self.layers(of: spec, imageShape), imageShape: imageShape, base: spec.base,
      start: .tensors(tensors),
      pool: pool, spec: spec)
  }

  private static func layers(of spec: FlowSpec, _ imageShape: ImageShape) throws -> [any FlowLayer<Scalar>] {
    let shapes = try spec.shapes(from: imageShape)
    var layers: [any FlowLayer<Scalar>] = []
    for (layer, shape) in zip(try spec.flattened(), shapes) {
      switch layer {
      case .actnorm: layers.append(Actnorm(channels: shape.channels))
      case .conv1x1(let form): layers.append(try Conv1x1(channels: shape.channels, form: form))
      case .coupling(let coupling): layers.append(Coupling(coupling))
      case .maskedAffine(let masked): layers.append(MaskedAffine(masked))
      case .permutation(let order): layers.append(Permutation(order))
      case .squeeze(let form): layers.append(Squeeze(form))
      case .split: layers.append(Split(base: spec.base))
      case .logistic: layers.append(Logistic())
      case .logit(let margin): layers.append(Logit(margin: margin))
      case .repeated: preconditionFailure("the layers are flattened")
      }
    }
    return layers
  }

  /// A flow of the given layers, one's own among them.
  public convenience init(
    layers: [any FlowLayer<Scalar>], imageShape: ImageShape, base: FlowSpec.Base = .gaussian,
    seed: UInt64 = 0,
    pool: ThreadPool = ThreadPool(threads: ThreadPool.availableCores)
  ) throws {
    try self.init(
      layers: layers, imageShape: imageShape, base: base, start: .random(seed), pool: pool, spec: nil)
  }

  /// Where a flow's numbers come from.
  private enum Start {
    case random(UInt64)
    case tensors([NamedTensor])
  }

  private init(
    layers: [any FlowLayer<Scalar>], imageShape: ImageShape, base: FlowSpec.Base, start: Start,
    pool: ThreadPool, spec: FlowSpec?
  ) throws {
    self.spec = spec
    self.imageShape = imageShape
    self.base = base
    self.pool = pool
    self.layers = layers + [Finish<Scalar>(base: base)]
    let workspaces = (0..<pool.threads).map { _ in Workspace<Scalar>() }
    whole = try FlowPass(pool: pool, workspaces: workspaces)
    let alone = ThreadPool(threads: 1)
    lanes = pool.threads == 1 ? [] : try workspaces.map { try FlowPass(pool: alone, workspaces: [$0]) }

    var shape = imageShape
    var sizes: [Int] = []
    var tallest = shape.height
    for layer in self.layers {
      let next = try layer.configure(input: shape)
      tallest = max(tallest, next.height)
      if layer is Finish<Scalar> {
        sizes.append(next.count)
      } else if next.count < shape.count {
        sizes.append(shape.count - next.count)
      }
      shape = next
    }
    latentSizes = sizes
    self.tallest = tallest
    var steps: [Step] = []
    for (k, layer) in self.layers.enumerated() {
      var first = k
      if let convolution = layer as? Conv1x1<Scalar>, let actnorm = steps.last?.layer as? Actnorm<Scalar> {
        convolution.fold(actnorm)
        first = steps.removeLast().layers.lowerBound
      }
      steps.append(Step(layer: layer, keeping: layer as? any KeepingLayer, layers: first..<k + 1))
    }
    self.steps = steps

    var named: [(name: String, parameter: LayerParameter<Scalar>)] = []
    var owned: [(parameters: Range<Int>, trainable: Range<Int>)] = []
    var trainableCount = 0
    for (k, layer) in self.layers.enumerated() {
      let prefix = layer is Finish<Scalar> ? "base" : "layers.\(k)"
      let parameters = layer.parameters
      let count = parameters.reduce(0) { $0 + ($1.isTrainable ? $1.count : 0) }
      owned.append(
        (named.count..<named.count + parameters.count, trainableCount..<trainableCount + count))
      named += parameters.map { ("\(prefix).\($0.name)", $0) }
      trainableCount += count
    }
    self.named = named
    self.owned = owned
    trainable = try Storage(count: trainableCount)
    fixed = try Storage(count: named.reduce(0) { $0 + $1.parameter.count } - trainableCount)
    var (trainableOffset, fixedOffset) = (0, 0)
    for (_, parameter) in named {
      let count = parameter.count
      if parameter.isTrainable {
        let range = trainableOffset..<trainableOffset + count
        parameter.bind(values: trainable.memory[range], gradient: nil)
        trainableOffset += count
      } else {
        parameter.bind(values: fixed.memory[fixedOffset..<fixedOffset + count], gradient: nil)
        fixedOffset += count
      }
    }
    switch start {
    case .tensors(let tensors): try load(tensors)
    case .random(let seed):
      for (k, layer) in self.layers.enumerated() {
        for parameter in layer.parameters {
          var random = Philox(seed: seed, index: UInt64(k), purpose: .weights)
          parameter.values.copy(from: parameter.initial(&random).map { Scalar($0) })
        }
        try layer.refresh()
      }
    }
  }

  /// How much gradients keep; `automatic` at first.
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

  /// Where each trainable tensor, by its name among `namedTensors`, lies in `parameters`.
  public var parameterRanges: [(name: String, range: Range<Int>)] {
    var offset = 0
    return named.filter(\.parameter.isTrainable).map { name, parameter in
      defer { offset += parameter.count }
      return (name, offset..<offset + parameter.count)
    }
  }

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
      try values.withUnsafeBufferPointer { values in
        try eachStep { step in
          for k in step.layers {
            let range = owned[k].trainable
            trainable.memory[range].copy(from: UnsafeBufferPointer(rebasing: values[range]))
            for (name, parameter) in named[owned[k].parameters] where parameter.isTrainable {
              try Self.requireFinite(parameter, name)
            }
          }
          try refresh(step)
        }
      }
    }
  }

  /// Replaces the numbers of one trainable tensor, of the name that it has among `namedTensors`; as `setParameters`.
  public func setParameters(_ values: [Scalar], of tensor: String) throws {
    try lock.withLock {
      guard
        let k = named.firstIndex(where: { $0.name == tensor }), named[k].parameter.isTrainable,
        let layer = owned.firstIndex(where: { $0.parameters.contains(k) }),
        let step = steps.first(where: { $0.layers.contains(layer) })
      else { throw FlowError.tensorMismatch(name: tensor, reason: "is no trainable tensor of this flow") }
      let parameter = named[k].parameter
      guard parameter.count == values.count else {
        throw FlowError.shapeMismatch(what: tensor, found: [values.count], expected: parameter.shape)
      }
      parameter.values.copy(from: values)
      try Self.requireFinite(parameter, tensor)
      try refresh(step)
    }
  }

  private static func requireFinite(_ parameter: LayerParameter<Scalar>, _ name: String) throws(FlowError) {
    guard Kernel.dot(parameter.values, parameter.values).isFinite else {
      throw .unusableParameters(name: name, reason: "it holds a value that is not finite")
    }
  }

  /// Runs `body` for every step, on all threads. Layers of one step read each other's parameters, so a step is the
  /// smallest piece that can be brought up to date by itself.
  private func eachStep(_ body: (_ step: Step) throws -> Void) throws {
    // Few parameters would only have to be fetched by another core.
    let isSmall = parameterCount < 2 * OptimizerState<Scalar>.leastShare
    try BLASThreads.single { try pool.run(steps.count, isSmall: isSmall) { k, _ in try body(steps[k]) } }
  }

  private func refresh() throws { try eachStep { try refresh($0) } }

  private func refresh(_ step: Step) throws {
    for k in step.layers {
      do {
        try layers[k].refresh()
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
    try lock.withLock {
      try whole.begin(count: batch.shape[0], shape: imageShape, height: tallest)
      whole.values.copy(from: batch)
      for step in steps {
        try step.layer.initialize(whole)
        try step.layer.refresh()
        try step.layer.forward(whole)
      }
      whole.settle()
    }
  }

  /// Bytes of scratch memory that the flow holds: the most that any pass so far has needed.
  public var workspaceBytes: Int {
    lock.withLock { ([whole] + lanes).reduce(0) { $0 + $1.bytes } }
  }

  /// A step's part of an array of all trainable numbers.
  func part(of numbers: Memory<Scalar>, _ step: Step) -> Memory<Scalar> {
    let first = owned[step.layers.lowerBound].trainable.lowerBound
    return numbers[first..<owned[step.layers.upperBound - 1].trainable.upperBound]
  }

  func check(_ images: Tensor<Scalar>) throws(FlowError) {
    let (found, image) = (images.shape, imageShape)
    guard found.count == 4, found[1] == image.height, found[2] == image.width, found[3] == image.channels
    else {
      throw .shapeMismatch(
        what: "image batch", found: found,
        expected: [found.first ?? 0, image.height, image.width, image.channels])
    }
  }

  /// One row and one number an image of `batch`.
  func check(_ rows: Tensor<Scalar>, _ numbers: Int, of batch: Tensor<Scalar>) throws(FlowError) {
    let (found, count) = (rows.shape.first ?? 0, batch.shape.first ?? 0)
    guard found == count, numbers == count else {
      throw .shapeMismatch(what: "cotangents", found: [found, numbers], expected: [count, count])
    }
  }

  func check(latents: Tensor<Scalar>) throws(FlowError) {
    let found = latents.shape
    guard found.count == 2, found[1] == dimension else {
      throw .shapeMismatch(what: "latents", found: found, expected: [found.first ?? 0, dimension])
    }
  }

  /// Runs `body`, with the parameters' gradients in `gradient` if it is given: each step's zeroed when a way back first
  /// comes to it, and after `body` the layers' sums for them are brought in.
  func withGradient(in gradient: UnsafeMutableBufferPointer<Scalar>?, _ body: () throws -> Void) throws {
    guard let gradient else { return try body() }
    let memory = Memory(gradient)
    var offset = 0
    for (_, parameter) in named where parameter.isTrainable {
      parameter.bindGradient(memory[offset..<offset + parameter.count])
      offset += parameter.count
    }
    defer { for (_, parameter) in named { parameter.bindGradient(nil) } }
    for step in steps { try step.keeping?.startGradient() }
    freshGradient = memory
    defer { freshGradient = nil }
    try body()
    try eachStep { $0.keeping?.finishGradient() }
  }
}
