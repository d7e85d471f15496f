/// What a coupling's net is made of.
public struct NetSpec: Codable, Hashable, Sendable {
  /// Which net.
  public enum Kind: String, Codable, Sendable, CaseIterable {
    /// 3×3 → 1×1 → 3×3 (Glow).
    case glow
    /// 3×3, then residual blocks `h ← a(h + conv(a(conv(h))))` of 3×3 convolutions, then 3×3 (RealNVP).
    case residual
    /// One 3×3 convolution: `hidden` and `blocks` don't matter.
    case linear
  }

  /// What follows every hidden convolution.
  public enum Activation: String, Codable, Sendable, CaseIterable {
    case relu
    /// u·σ(u): smooth, for what needs second derivatives.
    case silu
  }

  public var kind: Kind
  public var hidden: Int
  /// Residual blocks; only for `residual`.
  public var blocks: Int
  public var activation: Activation
  /// The value of pixels outside the image, for 3×3 convolutions.
  public var padding: Double
  /// The same for the last convolution, where it differs.
  public var lastPadding: Double?

  public init(
    kind: Kind = .glow, hidden: Int, blocks: Int = 2, activation: Activation = .relu, padding: Double = 0,
    lastPadding: Double? = nil
  ) {
    self.kind = kind
    self.hidden = hidden
    self.blocks = blocks
    self.activation = activation
    self.padding = padding
    self.lastPadding = lastPadding
  }

  /// Whether the net has no kinks.
  var isSmooth: Bool { kind == .linear || activation != .relu }

  func check() throws(FlowError) {
    guard (1...FlowSpec.widthLimit).contains(hidden) else {
      throw .invalidSpec("coupling: hidden is \(hidden), expected 1 to \(FlowSpec.widthLimit)")
    }
    guard (0...64).contains(blocks) else {
      throw .invalidSpec("coupling: blocks is \(blocks), expected 0 to 64")
    }
    guard padding.isFinite, lastPadding?.isFinite ?? true else {
      throw .invalidSpec("coupling: padding is not finite")
    }
  }

  /// Extents of the windows.
  private var kernels: [Int] {
    switch kind {
    case .glow: [3, 1, 3]
    case .residual: [Int](repeating: 3, count: 2 * blocks + 2)
    case .linear: [3]
    }
  }

  /// Rows above and below a row that its outputs depend on.
  var reach: Int { kernels.reduce(0) { $0 + $1 / 2 } }

  func chain(inChannels: Int, outChannels: Int) -> NetChain {
    let kernels = kernels
    let convolutions = kernels.indices.map { k in
      NetChain.Convolution(
        kernel: kernels[k], inChannels: k == 0 ? inChannels : hidden,
        outChannels: k == kernels.count - 1 ? outChannels : hidden,
        skips: kind == .residual && k > 0 && k % 2 == 0)
    }
    return NetChain(
      name: "net", conditionName: "condition", convolutions: convolutions, activation: activation,
      padding: padding, lastPadding: lastPadding)
  }
}

/// A fully connected net on the channels of every pixel: hidden layers of the given sizes, and an output layer without
/// activation. It is a chain of 1×1 convolutions.
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

  func check() throws(FlowError) {
    guard hidden.count <= 64 else {
      throw .invalidSpec("masked-affine: \(hidden.count) hidden layers, expected 64 at most")
    }
    if let width = hidden.first(where: { !(1...FlowSpec.widthLimit).contains($0) }) {
      throw .invalidSpec("masked-affine: hidden is \(width), expected 1 to \(FlowSpec.widthLimit)")
    }
  }

  func chain(_ name: String, conditionName: String? = nil, inChannels: Int, outChannels: Int) -> NetChain {
    let sizes = [inChannels] + hidden + [outChannels]
    return NetChain(
      name: name, conditionName: conditionName ?? name + ".condition",
      convolutions: zip(sizes, sizes.dropFirst()).map {
        NetChain.Convolution(kernel: 1, inChannels: $0, outChannels: $1)
      }, activation: activation, isFlat: true)
  }
}
