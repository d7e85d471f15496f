import AIPOFlows
import AIPOKernels

/// A model's passes with one layer at a time made ready for work: for a large model that is looked at once, since a flow
/// that is ready takes several times the memory of its tensors.
struct LayerByLayer<Scalar: KernelScalar> {
  let model: FlowModel
  let pool: ThreadPool
  private let layers: [LayerSpec]
  private let shapes: [ImageShape]
  private let tensors: [String: [NamedTensor]]

  init(_ model: FlowModel, pool: ThreadPool) throws {
    self.model = model
    self.pool = pool
    layers = try model.spec.flattened()
    shapes = try model.spec.shapes(from: model.imageShape)
    var tensors: [String: [NamedTensor]] = [:]
    for var tensor in model.tensors {
      let parts = tensor.name.split(separator: ".", maxSplits: 2, omittingEmptySubsequences: false)
      let isBase = parts.first == "base"
      let key = isBase ? "base" : parts.prefix(2).joined(separator: ".")
      tensor.name = isBase ? tensor.name : "layers.0." + parts.dropFirst(2).joined(separator: ".")
      tensors[key, default: []].append(tensor)
    }
    self.tensors = tensors
  }

  /// The k-th layer as a flow of its own, or behind the last one the base.
  private func flow(_ k: Int) throws -> Flow<Scalar> {
    let isBase = k == layers.count
    // What a split leaves gets its standardisation at the end, not here: only its own tensors are loaded.
    let isSplit = !isBase && layers[k] == .split
    let spec = FlowSpec(
      base: isBase || isSplit ? model.spec.base : .gaussian, layers: isBase ? [] : [layers[k]])
    let own = tensors[isBase ? "base" : "layers.\(k)"] ?? []
    guard isSplit else { return try Flow(spec: spec, imageShape: shapes[k], tensors: own, pool: pool) }
    let flow = try Flow<Scalar>(spec: spec, imageShape: shapes[k], pool: pool)
    try flow.load(own + flow.namedTensors.filter { $0.name.hasPrefix("base.") })
    return flow
  }

  /// Log-densities in nats.
  func evaluate(_ images: Tensor<Scalar>) throws -> [Double] {
    let count = images.shape[0]
    var logProb = [Double](repeating: 0, count: count)
    var values = images
    for k in 0...layers.count {
      let flow = try flow(k)
      let (latents, logDet) = try flow.encode(values)
      let next = k < layers.count ? shapes[k + 1] : ImageShape(height: 0, width: 0, channels: 0)
      let leaving = flow.dimension - next.count
      let (left, rest) = try Self.part(latents, at: leaving)
      let density = try flow.latentLogProb(left)
      for i in 0..<count { logProb[i] += logDet[i] + density[i] }
      values = rest.reshaped([count, next.height, next.width, next.channels])
    }
    return logProb
  }

  /// Draws `[n, h, w, c]` of the given indices.
  func sample(_ indices: Range<Int>, seed: UInt64) throws -> Tensor<Scalar> {
    let d = model.imageShape.count
    let whole = try Flow<Scalar>(
      spec: FlowSpec(layers: []), imageShape: model.imageShape, pool: pool)
    var rest = try whole.sampleLatents(indices: indices, temperature: 1, seed: seed)
    var leaving: [Tensor<Scalar>] = []
    for k in 0...layers.count {
      let size = k < layers.count ? shapes[k].count - shapes[k + 1].count : shapes[k].count
      let (left, right) = try Self.part(rest, at: size)
      leaving.append(left)
      rest = right
    }
    var values = try Tensor<Scalar>(shape: [indices.count, 0])
    for k in (0...layers.count).reversed() {
      values = try flow(k).decode(try Self.join(leaving[k], values)).images
      values = values.reshaped([indices.count, shapes[k].count])
    }
    precondition(values.rowLength == d || indices.isEmpty)
    let shape = model.imageShape
    return values.reshaped([indices.count, shape.height, shape.width, shape.channels])
  }

  /// The first `size` values of every row, and the others.
  private static func part(_ rows: Tensor<Scalar>, at size: Int) throws -> (Tensor<Scalar>, Tensor<Scalar>) {
    let (count, width) = (rows.shape[0], rows.shape[1])
    if size == 0 { return (try Tensor(shape: [count, 0]), rows) }
    func columns(_ range: Range<Int>) throws -> Tensor<Scalar> {
      var elements: [Scalar] = []
      elements.reserveCapacity(count * range.count)
      rows.withUnsafeBufferPointer { rows in
        for i in 0..<count { elements += rows[i * width + range.lowerBound..<i * width + range.upperBound] }
      }
      return try Tensor(shape: [count, range.count], elements: elements)
    }
    return (try columns(0..<size), try columns(size..<width))
  }

  private static func join(_ left: Tensor<Scalar>, _ right: Tensor<Scalar>) throws -> Tensor<Scalar> {
    let (count, a, b) = (left.shape[0], left.shape[1], right.shape[1])
    if a == 0 { return right }
    var elements: [Scalar] = []
    elements.reserveCapacity(count * (a + b))
    let (left, right) = (left.elements, right.elements)
    for i in 0..<count {
      elements += left[i * a..<(i + 1) * a]
      elements += right[i * b..<(i + 1) * b]
    }
    return try Tensor(shape: [count, a + b], elements: elements)
  }
}

extension Flow {
  /// `log p_base` of some of the latents, by rows.
  fileprivate func latentLogProb(_ latents: Tensor<Scalar>) throws -> [Double] {
    let width = latents.shape[1]
    let halfLogTwoPi = 0.918_938_533_204_672_741_8
    return (0..<latents.shape[0]).map { i in
      var squares = 0.0
      for j in 0..<width {
        let value = Double(latents[flat: i * width + j])
        squares += value * value
      }
      return -0.5 * squares - Double(width) * halfLogTwoPi
    }
  }
}
