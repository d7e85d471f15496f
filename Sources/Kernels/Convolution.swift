import CAIPOKernels

/// The weights of a 3×3 or 1×1 convolution, packed for the kernels; images of any size go through them.
public final class ConvolutionWeights<T: KernelScalar>: @unchecked Sendable {
  public let inChannels: Int
  public let outChannels: Int
  public let kernel: Int
  /// The value of pixels outside the image.
  public let padding: T
  /// Parts of the weights' gradient.
  public let gradientParts: Int

  fileprivate let packed: Storage<T>
  fileprivate let packedAdjoint: Storage<T>

  public init(inChannels: Int, outChannels: Int, kernel: Int, padding: T = 0) throws(TensorError) {
    precondition(kernel == 1 || kernel == 3)
    self.inChannels = inChannels
    self.outChannels = outChannels
    self.kernel = kernel
    self.padding = padding
    // Neither the packed weights nor the parts depend on the images' size.
    var forward = ck_conv(
      height: 1, width: 1, in_channels: Int32(inChannels), out_channels: Int32(outChannels),
      kernel: Int32(kernel))
    var adjoint = forward
    swap(&adjoint.in_channels, &adjoint.out_channels)
    packed = try Storage(count: ck_conv_packed_count(T.element, &forward))
    packedAdjoint = try Storage(count: ck_conv_packed_count(T.element, &adjoint))
    gradientParts = Int(ck_conv_wgrad_parts(T.element, &forward))
  }

  public var weightCount: Int { kernel * kernel * inChannels * outChannels }

  /// To be called whenever the weights have changed.
  public func pack(_ weights: Memory<T>) {
    precondition(weights.count == weightCount)
    var shape = ck_conv(
      height: 1, width: 1, in_channels: Int32(inChannels), out_channels: Int32(outChannels),
      kernel: Int32(kernel))
    ck_conv_pack(T.element, &shape, weights.base, packed.memory.base)
    ck_conv_pack_adjoint(T.element, &shape, weights.base, packedAdjoint.memory.base)
  }

  /// The convolution of images of one size.
  public func on(height: Int, width: Int) -> Convolution<T> {
    Convolution(weights: self, height: height, width: width)
  }
}

/// A 3×3 or 1×1 convolution of images of one size.
///
/// `y[i,j,o] = b[o] + Σ x[i+dy−1, j+dx−1, c]·w[dy,dx,c,o]`, cross-correlation, same size; pixels outside the image
/// have the value `padding`. Weights are `[k, k, in, out]`.
public struct Convolution<T: KernelScalar>: Sendable {
  public let weights: ConvolutionWeights<T>
  public let height: Int
  public let width: Int

  private let shape: ck_conv
  private let adjointShape: ck_conv

  init(weights: ConvolutionWeights<T>, height: Int, width: Int) {
    self.weights = weights
    self.height = height
    self.width = width
    var shape = ck_conv(
      height: Int32(height), width: Int32(width), in_channels: Int32(weights.inChannels),
      out_channels: Int32(weights.outChannels), kernel: Int32(weights.kernel))
    self.shape = shape
    swap(&shape.in_channels, &shape.out_channels)
    adjointShape = shape
  }

  /// With weights of its own.
  public init(height: Int, width: Int, inChannels: Int, outChannels: Int, kernel: Int, padding: T = 0)
    throws(TensorError)
  {
    self.init(
      weights: try ConvolutionWeights(
        inChannels: inChannels, outChannels: outChannels, kernel: kernel, padding: padding),
      height: height, width: width)
  }

  public var inChannels: Int { weights.inChannels }
  public var outChannels: Int { weights.outChannels }
  public var kernel: Int { weights.kernel }
  public var padding: T { weights.padding }
  public var weightCount: Int { weights.weightCount }
  public var gradientParts: Int { weights.gradientParts }

  /// To be called whenever the weights have changed.
  public func pack(_ values: Memory<T>) { weights.pack(values) }

  /// Elements of scratch memory that `forward` and `adjoint` need.
  public var workspaceCount: Int {
    @_specialize(where T == Float)
    @_specialize(where T == Double)
    get {
      var (shape, adjointShape) = (shape, adjointShape)
      return max(ck_conv_workspace(T.element, &shape), ck_conv_workspace(T.element, &adjointShape))
    }
  }

  /// Elements of scratch memory that `accumulateGradient` needs.
  public var gradientWorkspaceCount: Int {
    @_specialize(where T == Float)
    @_specialize(where T == Double)
    get {
      var shape = shape
      return ck_conv_wgrad_workspace(T.element, &shape)
    }
  }

  private func checkMask(_ rows: Range<Int>, _ mask: Mask, channels: Int) {
    let size = width * Mask.bytes(channels: channels)
    precondition(mask.first <= rows.lowerBound * size && mask.count >= rows.upperBound * size)
  }

  /// What happens to a value on its way out, in this order.
  public struct Epilogue: OptionSet, Sendable {
    public let rawValue: Int32
    public init(rawValue: Int32) { self.rawValue = rawValue }
    /// Added to what is there.
    public static var add: Self { Self(rawValue: 1) }
    /// max(v, 0); a mask, if given, gets the bits of positive values.
    public static var relu: Self { Self(rawValue: 2) }
    /// v where the mask's bit is set, else 0.
    public static var gate: Self { Self(rawValue: 4) }
  }

  private func checkRows(_ rows: Range<Int>, _ memory: Memory<T>, channels: Int, stride: Int) {
    precondition(rows.lowerBound >= 0 && stride >= channels)
    precondition(
      rows.isEmpty
        || memory.first <= rows.lowerBound * width * stride
          && memory.count >= (rows.upperBound * width - 1) * stride + channels
    )
  }

  /// The rows that the window touches when it goes over some rows of a batch.
  private func touched(_ rows: Range<Int>) -> Range<Int> {
    guard kernel == 3, !rows.isEmpty else { return rows }
    let first = rows.lowerBound % height == 0 ? rows.lowerBound : rows.lowerBound - 1
    return first..<(rows.upperBound % height == 0 ? rows.upperBound : rows.upperBound + 1)
  }

  /// y for the given rows. Arrays are counted from row 0 of the batch on; x has all rows that the 3×3 window touches.
  @_specialize(where T == Float)
  @_specialize(where T == Double)
  public func forward(
    rows: Range<Int>, x: Memory<T>, stride xs: Int, bias: Memory<T>?, epilogue: Epilogue, mask: Mask? = nil,
    y: Memory<T>, stride ys: Int, scratch: Memory<T>
  ) {
    checkRows(touched(rows), x, channels: inChannels, stride: xs)
    checkRows(rows, y, channels: outChannels, stride: ys)
    precondition(scratch.count >= workspaceCount && (bias?.count ?? outChannels) == outChannels)
    if let mask { checkMask(rows, mask, channels: outChannels) }
    var shape = shape
    ck_conv_fwd(
      T.element,
      &shape, Int64(rows.lowerBound), Int64(rows.upperBound), x.base, Int64(xs), weights.packed.memory.base,
      bias?.base,
      Double(padding), epilogue.rawValue, mask?.base, y.base, Int64(ys), scratch.base)
  }

  /// x̄, the adjoint of the linear part applied to ȳ; `mask` has the bits of `[rows, w, in]`.
  @_specialize(where T == Float)
  @_specialize(where T == Double)
  public func adjoint(
    rows: Range<Int>, cotangent g: Memory<T>, stride gs: Int, epilogue: Epilogue, mask: Mask?,
    into x: Memory<T>, stride xs: Int, scratch: Memory<T>
  ) {
    checkRows(touched(rows), g, channels: outChannels, stride: gs)
    checkRows(rows, x, channels: inChannels, stride: xs)
    precondition(scratch.count >= workspaceCount && epilogue.contains(.gate) == (mask != nil))
    if let mask { checkMask(rows, mask, channels: inChannels) }
    var shape = adjointShape
    ck_conv_fwd(
      T.element,
      &shape, Int64(rows.lowerBound), Int64(rows.upperBound), g.base, Int64(gs),
      weights.packedAdjoint.memory.base, nil, 0, epilogue.rawValue, mask?.base, x.base, Int64(xs),
      scratch.base)
  }

  /// Rows that every piece of a gradient but the last has a multiple of.
  public var gradientBlock: Int {
    var shape = shape
    return Int(ck_conv_wgrad_block(T.element, &shape))
  }

  /// Elements of the sums that pieces of a gradient carry on.
  public var gradientCarryCount: Int {
    var shape = shape
    return ck_conv_wgrad_carry(T.element, &shape)
  }

  /// Which rows of those whose gradient is taken are given.
  public struct Piece: OptionSet, Sendable {
    public let rawValue: Int32
    public init(rawValue: Int32) { self.rawValue = rawValue }
    public static var first: Self { Self(rawValue: Int32(CK_FIRST)) }
    public static var last: Self { Self(rawValue: Int32(CK_LAST)) }
    public static var whole: Self { Self(rawValue: Int32(CK_FIRST | CK_LAST)) }
  }

  /// Adds the gradients of weights and bias over `rows`, which are whole images or, with sums in `carry` meanwhile, pieces
  /// of them that follow each other: all, or those of some of the `gradientParts`. Pieces give the same bits.
  @_specialize(where T == Float)
  @_specialize(where T == Double)
  public func accumulateGradient(
    parts: Range<Int>? = nil, rows: Range<Int>, piece: Piece = .whole, x: Memory<T>, stride xs: Int,
    cotangent g: Memory<T>, stride gs: Int, weights gradient: Memory<T>, bias: Memory<T>?,
    carry: Memory<T>? = nil, scratch: Memory<T>
  ) {
    if piece == .whole {
      precondition(rows.lowerBound % height == 0 && rows.upperBound % height == 0)
    } else {
      precondition(piece.contains(.last) || rows.count % gradientBlock == 0)
      precondition(carry.map { $0.count >= gradientCarryCount } == true)
    }
    checkRows(touched(rows), x, channels: inChannels, stride: xs)
    checkRows(touched(rows), g, channels: outChannels, stride: gs)
    precondition(gradient.count == weightCount && scratch.count >= gradientWorkspaceCount)
    let parts = parts ?? 0..<gradientParts
    var shape = shape
    ck_conv_wgrad(
      T.element,
      &shape, Int32(parts.lowerBound), Int32(parts.upperBound), Int64(rows.lowerBound),
      Int64(rows.upperBound), piece.rawValue, x.base, Int64(xs), Double(padding), g.base, Int64(gs),
      gradient.base, bias?.base, carry?.base, scratch.base)
  }
}
