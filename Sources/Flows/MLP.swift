import AIPOKernels

/// A fully connected net: hidden layers of the given sizes, and an output layer without activation.
public struct MLPSpec: Codable, Hashable, Sendable {
  /// Outputs of the hidden layers, in order.
  public var hidden: [Int]
  /// What follows every hidden layer.
  public var activation: NetSpec.Activation

  public init(hidden: [Int], activation: NetSpec.Activation = .relu) {
    self.hidden = hidden
    self.activation = activation
  }

  /// Whether the net has no kinks.
  var isSmooth: Bool { hidden.isEmpty || activation != .relu }

  /// Multiplications with an addition for one pixel.
  func products(input: Int, output: Int) -> Int {
    let sizes = [input] + hidden + [output]
    return zip(sizes, sizes.dropFirst()).reduce(0) { $0 + $1.0 * $1.1 }
  }
}

/// A fully connected net on the channels of every pixel, `y_k = a(W_kᵀ y_{k−1} + b_k)`; the last layer is linear and
/// starts at zero. Layers are 1×1 convolutions; weights are `[in, out]`. With a condition the biases are functions of the
/// image's noise level.
final class MLP<Scalar: KernelScalar> {
  private struct Layer {
    var product: ConvolutionWeights<Scalar>
    var weight: LayerParameter<Scalar>
    /// nil where the embedding gives them.
    var bias: LayerParameter<Scalar>?
    var isLast: Bool
    /// Where its gradients lie among the net's, and its outputs among those of all layers.
    var offset: Int
    var channelOffset: Int
  }

  private let layers: [Layer]
  private let activation: NetSpec.Activation
  /// What gives the layers their biases, in a flow with a condition.
  let embedding: NoiseEmbedding<Scalar>?
  private let own: [LayerParameter<Scalar>]
  var parameters: [LayerParameter<Scalar>] { own + (embedding?.parameters ?? []) }
  /// Numbers in all parameters but the embedding's.
  let parameterCount: Int
  let outChannels: Int

  /// `name` begins the names of the parameters.
  init(_ spec: MLPSpec, name: String, inChannels: Int, outChannels: Int, condition: Condition? = nil) throws {
    activation = spec.activation
    self.outChannels = outChannels
    let sizes = [inChannels] + spec.hidden + [outChannels]
    var layers: [Layer] = []
    var (offset, channelOffset) = (0, 0)
    for k in 0..<sizes.count - 1 {
      let (input, output) = (sizes[k], sizes[k + 1])
      let isLast = k == sizes.count - 2
      // He et al. 2015.
      let deviation = isLast ? 0 : (2 / Double(input)).squareRoot()
      layers.append(
        Layer(
          product: try ConvolutionWeights(inChannels: input, outChannels: output, kernel: 1),
          weight: LayerParameter("\(name).\(k).weight", shape: [input, output]) { random in
            (0..<input * output).map { _ in deviation * random.normal() }
          },
          bias: condition == nil
            ? LayerParameter("\(name).\(k).bias", shape: [output]) { _ in
              [Double](repeating: 0, count: output)
            } : nil, isLast: isLast, offset: offset, channelOffset: channelOffset))
      offset += (condition == nil ? input + 1 : input) * output
      channelOffset += output
    }
    self.layers = layers
    parameterCount = offset
    embedding = try condition.map {
      try NoiseEmbedding($0, name: "\(name).condition", channels: channelOffset)
    }
    own = layers.flatMap { [$0.weight, $0.bias].compactMap(\.self) }
  }

  func refresh() {
    embedding?.refresh()
    for layer in layers { layer.product.pack(layer.weight.values) }
  }

  /// What the net computed for some rows, for the way back.
  struct Activations {
    /// Outputs of the hidden layers.
    var outputs: [Memory<Scalar>] = []
    /// Which of them are positive, for ReLU.
    var masks: [Mask] = []
    /// The slopes of smooth activations.
    var slopes: [Memory<Scalar>] = []
  }

  /// Values that the net takes a pixel on its way there and back.
  var scratchChannels: Int { layers.reduce(0) { $0 + 4 * $1.product.outChannels } }

  func workspaceCount(width: Int) -> Int {
    layers.reduce(0) {
      let product = $1.product.on(height: 1, width: width)
      return max($0, product.workspaceCount, product.gradientWorkspaceCount)
    }
  }

  /// The net's output for `rows` rows of pixels, from a dense x into y with the given pixel stride. `biases` count the
  /// rows as x does.
  func forward(
    rows: Int, width: Int, x: Memory<Scalar>, biases: ImageBiases<Scalar>? = nil, y: Memory<Scalar>,
    stride: Int,
    workspace: Workspace<Scalar>
  ) throws -> Activations {
    var kept = Activations()
    for layer in layers {
      let product = layer.product.on(height: 1, width: width)
      let channels = product.outChannels
      let source = kept.outputs.last ?? x
      let output = layer.isLast ? y : try workspace.take(rows * width * channels)
      let smooth = activation == .silu && !layer.isLast
      let target = smooth ? try workspace.take(output.count) : output
      var mask: Mask?
      if activation == .relu, !layer.isLast {
        let bytes = rows * width * Mask.bytes(channels: channels)
        let size = MemoryLayout<Scalar>.stride
        mask = Mask(try workspace.take((bytes + size - 1) / size))
      }
      let targetStride = layer.isLast ? stride : channels
      biases?.put(
        0..<rows, offset: layer.channelOffset, count: channels, stride: targetStride, adding: false,
        into: target)
      var epilogue: Convolution<Scalar>.Epilogue = biases == nil ? [] : .add
      if mask != nil { epilogue.insert(.relu) }
      try workspace.scope {
        product.forward(
          rows: 0..<rows, x: source, stride: product.inChannels, bias: layer.bias?.values,
          epilogue: epilogue, mask: mask, y: target, stride: targetStride,
          scratch: try workspace.take(product.workspaceCount))
      }
      guard !layer.isLast else { break }
      if let mask { kept.masks.append(mask) }
      if smooth {
        Kernel.silu(target, into: output, slopes: target)
        kept.slopes.append(target)
      }
      kept.outputs.append(output)
    }
    return kept
  }

  /// Back from the output's cotangent: adds the input's cotangent to the dense `xCotangent`, the parameters'
  /// gradients to `gradient` if there is one, and the biases' cotangents to `biases`, which count the rows as x does.
  func vjp(
    rows: Int, width: Int, x: Memory<Scalar>, activations: Activations, cotangent: Memory<Scalar>,
    stride: Int,
    xCotangent: Memory<Scalar>, gradient: Memory<Scalar>?, biases: ImageBiases<Scalar>? = nil,
    workspace: Workspace<Scalar>
  ) throws {
    /// Cotangent of layer k's value before the activation.
    var cotangent = cotangent
    var stride = stride
    for k in layers.indices.reversed() {
      let layer = layers[k]
      let product = layer.product.on(height: 1, width: width)
      let (input, output) = (product.inChannels, product.outChannels)
      let target = k == 0 ? xCotangent : try workspace.take(rows * width * input)
      try workspace.scope {
        let scratch = try workspace.take(max(product.workspaceCount, product.gradientWorkspaceCount))
        biases?.sum(
          0..<rows, offset: layer.channelOffset, count: output, stride: stride, cotangent: cotangent)
        if let gradient {
          let bias = layer.offset + input * output
          product.accumulateGradient(
            rows: 0..<rows, x: k == 0 ? x : activations.outputs[k - 1], stride: input, cotangent: cotangent,
            stride: stride, weights: gradient[layer.offset..<bias],
            bias: layer.bias == nil ? nil : gradient[bias..<bias + output],
            scratch: scratch)
        }
        let gated = activation == .relu && k > 0
        product.adjoint(
          rows: 0..<rows, cotangent: cotangent, stride: stride, epilogue: k == 0 ? .add : gated ? .gate : [],
          mask: gated ? activations.masks[k - 1] : nil, into: target, stride: input, scratch: scratch)
      }
      if activation == .silu, k > 0 { Kernel.multiply(target, by: activations.slopes[k - 1]) }
      (cotangent, stride) = (target, input)
    }
  }

  /// Adds a gradient in the net's own order to the parameters' gradients, but for the embedding's.
  func addGradient(_ gradient: Memory<Scalar>) {
    var offset = 0
    for parameter in own {
      Kernel.add(gradient[offset..<offset + parameter.count], to: parameter.gradient)
      offset += parameter.count
    }
  }
}
