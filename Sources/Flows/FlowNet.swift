import AIPOKernels
import Synchronization

/// The layers of a flow and their numbers, without a size of images: a `Flow` puts them to work at one.
///
/// Any number of threads and flows of any sizes use one net at once. While its numbers change, or gradients of them are
/// taken, nobody else may use it: that is a programmer's mistake and ends the program.
public final class FlowNet<Scalar: KernelScalar>: @unchecked Sendable {
  /// The description that the net was built from; nil if it was built from layers.
  public let spec: FlowSpec?
  public let base: FlowSpec.Base
  /// What its layers know beside the image.
  public let condition: Condition?
  /// The shape of the images that the net was made for. Other sizes have as many channels.
  public let imageShape: ImageShape

  let layers: [any FlowLayer<Scalar>]
  /// What passes go through: the layers, but for those that others have taken over.
  let steps: [Step]
  struct Step {
    let layer: any FlowLayer<Scalar>
    /// The layer again, if it takes scratch memory of its own.
    let scratch: (any ScratchLayer)?
    /// And if it keeps by itself what its way back needs.
    let keeping: (any KeepingLayer)?
    /// Which layers it stands for: this one, behind those that it has taken over.
    let layers: Range<Int>

    /// The layer's place.
    var place: Int { layers.upperBound - 1 }
  }

  private let named: [(name: String, parameter: LayerParameter<Scalar>)]
  private let trainable: Storage<Scalar>
  /// Of each layer, where its parameters are in `named`, and its trainable numbers among all.
  private let owned: [(parameters: Range<Int>, trainable: Range<Int>)]
  private let fixed: Storage<Scalar>
  /// Calls that use the numbers, or −1 while they change.
  private let users = Atomic<Int>(0)

  /// A net with random parameters (as for training).
  ///
  /// - `imageShape`: of the images that it is for.
  /// - `seed`: of the random parameters.
  /// - `pool`: the threads that make it ready.
  /// - Throws: `FlowError` if the spec is invalid or doesn't accept the size, `TensorError` without memory.
  public convenience init(spec: FlowSpec, imageShape: ImageShape, seed: UInt64 = 0, pool: ThreadPool) throws {
    try self.init(
      layers: Self.layers(of: spec, imageShape), imageShape: imageShape, base: spec.base,
      condition: spec.condition, start: .random(seed), pool: pool, spec: spec)
  }

  /// A net with the numbers of `tensors`, named and shaped as `namedTensors` are.
  ///
  /// - Throws: also `FlowError.tensorMismatch`, or `unusableParameters` for a singular matrix or a value that isn't finite.
  public convenience init(spec: FlowSpec, imageShape: ImageShape, tensors: [NamedTensor], pool: ThreadPool)
    throws
  {
    // Before anything is allocated on a spec's word.
    let (found, least) = (
      tensors.reduce(0) { $0 + $1.count }, try spec.weights(for: imageShape).reduce(0) { $0 + $1.count }
    )
    guard least <= found else {
      throw FlowError.shapeMismatch(what: "all tensors together", found: [found], expected: [least])
    }
    try self.init(
      layers: Self.layers(of: spec, imageShape), imageShape: imageShape, base: spec.base,
      condition: spec.condition, start: .tensors(tensors), pool: pool, spec: spec)
  }

  /// A net of the given layers, one's own among them.
  public convenience init(
    layers: [any FlowLayer<Scalar>], imageShape: ImageShape, base: FlowSpec.Base = .gaussian,
    condition: Condition? = nil, seed: UInt64 = 0, pool: ThreadPool
  ) throws {
    try self.init(
      layers: layers, imageShape: imageShape, base: base, condition: condition, start: .random(seed),
      pool: pool, spec: nil)
  }

  private static func layers(of spec: FlowSpec, _ imageShape: ImageShape) throws -> [any FlowLayer<Scalar>] {
    try zip(spec.flattened(), spec.shapes(from: imageShape)).map { layer, shape in
      guard let kind = layer.kind else { preconditionFailure("the layers are flattened") }
      return try kind.makeLayer(for: shape, in: spec, Scalar.self)
    }
  }

  /// Where a net's numbers come from.
  private enum Start {
    case random(UInt64)
    case tensors([NamedTensor])
  }

  private init(
    layers: [any FlowLayer<Scalar>], imageShape: ImageShape, base: FlowSpec.Base, condition: Condition?,
    start: Start, pool: ThreadPool, spec: FlowSpec?
  ) throws {
    self.spec = spec
    self.condition = condition
    self.imageShape = imageShape
    self.base = base
    let last = try layers.reduce(imageShape) { try $1.output(for: $0) }
    self.layers = layers + [Finish<Scalar>(base: base, input: last)]

    var steps: [Step] = []
    for (k, layer) in self.layers.enumerated() {
      var first = k
      if let convolution = layer as? Conv1x1<Scalar>, let actnorm = steps.last?.layer as? Actnorm<Scalar> {
        convolution.fold(actnorm)
        first = steps.removeLast().layers.lowerBound
      }
      steps.append(
        Step(
          layer: layer, scratch: layer as? any ScratchLayer, keeping: layer as? any KeepingLayer,
          layers: first..<k + 1))
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
    case .tensors(let tensors): try load(tensors, pool: pool)
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

  // MARK: Sizes

  /// The way of images of one shape through the layers. Throws `FlowError.unsupportedShape` where they don't accept it.
  func route(for image: ImageShape) throws -> FlowRoute {
    guard image.channels == imageShape.channels else {
      throw FlowError.unsupportedShape(image, reason: "it is for images of \(imageShape.channels) channels")
    }
    try spec?.check(image, trainedOn: imageShape)
    var shapes = [image]
    for layer in layers { shapes.append(try layer.output(for: shapes[shapes.count - 1])) }
    return FlowRoute(shapes)
  }

  /// Whether a flow of this net can be had for images of this shape.
  public func accepts(_ image: ImageShape) -> Bool { (try? route(for: image)) != nil }

  // MARK: Use

  /// Runs `body`, which uses the numbers as they are.
  func using<Result>(_ body: () throws -> Result) rethrows -> Result {
    let before = users.add(1, ordering: .acquiring).oldValue
    precondition(before >= 0, "a flow is used while its parameters change or a gradient of them is taken")
    defer { users.subtract(1, ordering: .releasing) }
    return try body()
  }

  /// Runs `body`, which needs the net alone.
  func alone<Result>(_ body: () throws -> Result) rethrows -> Result {
    let isFree = users.compareExchange(expected: 0, desired: -1, ordering: .acquiringAndReleasing).exchanged
    precondition(
      isFree, "a flow's parameters are to change, or a gradient of them is taken, while it is used")
    defer { users.store(0, ordering: .releasing) }
    return try body()
  }

  // MARK: Parameters

  /// Trainable numbers.
  public var parameterCount: Int { trainable.memory.count }

  /// All trainable numbers, in the order of the layers.
  public var parameters: [Scalar] { using { trainable.memory.elements } }

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
  /// - Throws: `FlowError.unusableParameters` if a matrix is singular or a value isn't finite; the net must then be
  ///   given usable ones before it is used again.
  public func setParameters(_ values: [Scalar], pool: ThreadPool) throws {
    guard values.count == parameterCount else {
      throw FlowError.shapeMismatch(
        what: "parameter vector", found: [values.count], expected: [parameterCount])
    }
    try alone {
      try values.withUnsafeBufferPointer { values in
        try eachStep(pool) { step in
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
    try alone {
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
  private func eachStep(_ pool: ThreadPool, _ body: (_ step: Step) throws -> Void) throws {
    // Few parameters would only have to be fetched by another core.
    let isSmall = parameterCount < 2 * OptimizerState<Scalar>.leastShare
    try BLASThreads.single { try pool.run(steps.count, isSmall: isSmall) { k, _ in try body(steps[k]) } }
  }

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
    using {
      named.map { name, parameter in
        NamedTensor(name: name, shape: parameter.shape, scalars: parameter.values.elements)
      }
    }
  }

  /// Takes all numbers from tensors with the names and shapes of `namedTensors`.
  public func load(_ tensors: [NamedTensor], pool: ThreadPool) throws {
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
    try alone {
      for (name, parameter) in named {
        let numbers: [Scalar] = values[name]!.scalars(as: Scalar.self)
        guard numbers.allSatisfy({ $0.isFinite }) else {
          throw FlowError.unusableParameters(name: name, reason: "it holds a value that is not finite")
        }
        parameter.values.copy(from: numbers)
      }
      try eachStep(pool) { try refresh($0) }
    }
  }

  // MARK: Gradients of the parameters

  /// A step's part of an array of all trainable numbers.
  func part(of numbers: Memory<Scalar>, _ step: Step) -> Memory<Scalar> {
    let first = owned[step.layers.lowerBound].trainable.lowerBound
    return numbers[first..<owned[step.layers.upperBound - 1].trainable.upperBound]
  }

  /// Runs `body` alone, with the parameters' gradients in `gradient`; after it the layers' sums for them are brought in.
  func withGradient(
    in gradient: Memory<Scalar>, _ route: FlowRoute, pool: ThreadPool, _ body: () throws -> Void
  ) throws {
    try alone {
      var offset = 0
      for (_, parameter) in named where parameter.isTrainable {
        parameter.bindGradient(gradient[offset..<offset + parameter.count])
        offset += parameter.count
      }
      defer { for (_, parameter) in named { parameter.bindGradient(nil) } }
      for step in steps { try step.keeping?.startGradient(input: route.shapes[step.place]) }
      try body()
      try eachStep(pool) { $0.keeping?.finishGradient() }
    }
  }
}

/// The shapes that images of one size have on their way through a net's layers.
struct FlowRoute: Sendable {
  /// Before each layer, and after the last.
  let shapes: [ImageShape]
  /// Values of one image that leave at each split, and at the end.
  let latentSizes: [Int]
  /// The rows that they are of.
  let latentHeights: [Int]
  /// The most rows that an image has on its way.
  let tallest: Int

  init(_ shapes: [ImageShape]) {
    self.shapes = shapes
    let splits = zip(shapes, shapes.dropFirst()).filter { $0.count > $1.count }
    latentSizes = splits.map { $0.count - $1.count } + [shapes.last!.count]
    latentHeights = splits.map(\.1.height) + [shapes.last!.height]
    tallest = shapes.reduce(0) { max($0, $1.height) }
  }

  var first: ImageShape { shapes[0] }
  var last: ImageShape { shapes[shapes.count - 1] }
}
