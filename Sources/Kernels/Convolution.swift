import CAIPOKernels

/// A 3×3 or 1×1 convolution of images of one size, with its weights packed for the kernels.
///
/// `y[i,j,o] = b[o] + Σ x[i+dy−1, j+dx−1, c]·w[dy,dx,c,o]`, cross-correlation, same size; pixels outside the image
/// have the value `padding`. Weights are `[k, k, in, out]`.
public final class Convolution<T: KernelScalar>: @unchecked Sendable {
  public let inChannels: Int
  public let outChannels: Int
  public let kernel: Int
  public let padding: T
  public let height: Int
  public let width: Int

  /// The shape, and the adjoint's at [1]; behind a pointer because kernels on several threads read it at once.
  private let shape: UnsafeMutablePointer<ck_conv>
  private let adjointShape: UnsafeMutablePointer<ck_conv>
  private let packed: Storage<T>
  private let packedAdjoint: Storage<T>

  /// Elements of scratch memory that any call needs.
  public let workspaceCount: Int

  /// Parts of the weights' gradient.
  public let gradientParts: Int

  public init(height: Int, width: Int, inChannels: Int, outChannels: Int, kernel: Int, padding: T = 0)
    throws(TensorError)
  {
    precondition(kernel == 1 || kernel == 3)
    self.inChannels = inChannels
    self.outChannels = outChannels
    self.kernel = kernel
    self.padding = padding
    self.height = height
    self.width = width
    var forward = ck_conv(
      height: Int32(height), width: Int32(width), in_channels: Int32(inChannels),
      out_channels: Int32(outChannels), kernel: Int32(kernel))
    var adjoint = forward
    swap(&adjoint.in_channels, &adjoint.out_channels)
    let k = T.kernels
    packed = try Storage(count: k.convPackedCount(&forward))
    packedAdjoint = try Storage(count: k.convPackedCount(&adjoint))
    workspaceCount = max(
      k.convWorkspace(&forward), k.convWorkspace(&adjoint), k.convGradientWorkspace(&forward))
    gradientParts = Int(k.convGradientParts(&forward))
    shape = .allocate(capacity: 2)
    adjointShape = shape + 1
    shape.initialize(to: forward)
    adjointShape.initialize(to: adjoint)
  }

  deinit { shape.deallocate() }

  public var weightCount: Int { kernel * kernel * inChannels * outChannels }

  /// To be called whenever the weights have changed.
  public func pack(_ weights: Memory<T>) {
    precondition(weights.count == weightCount)
    T.kernels.convPack(shape, weights.base, packed.memory.base)
    T.kernels.convPackAdjoint(shape, weights.base, packedAdjoint.memory.base)
  }

  private func checkMask(_ rows: Range<Int>, _ mask: Mask, channels: Int) {
    precondition(mask.count >= rows.upperBound * width * Mask.bytes(channels: channels))
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
    precondition(rows.isEmpty || memory.count >= (rows.upperBound * width - 1) * stride + channels)
  }

  /// y for the given rows. Arrays are given from row 0 on, x with all rows that the 3×3 window touches.
  public func forward(
    rows: Range<Int>, x: Memory<T>, stride xs: Int, bias: Memory<T>?, epilogue: Epilogue, mask: Mask? = nil,
    y: Memory<T>, stride ys: Int, scratch: Memory<T>
  ) {
    checkRows(rows, x, channels: inChannels, stride: xs)
    checkRows(rows, y, channels: outChannels, stride: ys)
    precondition(scratch.count >= workspaceCount && (bias?.count ?? outChannels) == outChannels)
    if let mask { checkMask(rows, mask, channels: outChannels) }
    T.kernels.conv(
      shape, Int64(rows.lowerBound), Int64(rows.upperBound), x.base, Int64(xs), packed.memory.base,
      bias?.base,
      padding, epilogue.rawValue, mask?.base, y.base, Int64(ys), scratch.base)
  }

  /// x̄, the adjoint of the linear part applied to ȳ; `mask` has the bits of `[rows, w, in]`.
  public func adjoint(
    rows: Range<Int>, cotangent g: Memory<T>, stride gs: Int, epilogue: Epilogue, mask: Mask?,
    into x: Memory<T>, stride xs: Int, scratch: Memory<T>
  ) {
    checkRows(rows, g, channels: outChannels, stride: gs)
    checkRows(rows, x, channels: inChannels, stride: xs)
    precondition(scratch.count >= workspaceCount && epilogue.contains(.gate) == (mask != nil))
    if let mask { checkMask(rows, mask, channels: inChannels) }
    T.kernels.conv(
      adjointShape, Int64(rows.lowerBound), Int64(rows.upperBound), g.base, Int64(gs),
      packedAdjoint.memory.base, nil, 0, epilogue.rawValue, mask?.base, x.base, Int64(xs), scratch.base)
  }

  /// Adds the gradients of weights and bias over `rows`, which are whole images: all, or those of some of the
  /// `gradientParts`.
  public func accumulateGradient(
    parts: Range<Int>? = nil, rows: Range<Int>, x: Memory<T>, stride xs: Int, cotangent g: Memory<T>,
    stride gs: Int, weights: Memory<T>, bias: Memory<T>?, scratch: Memory<T>
  ) {
    checkRows(rows, x, channels: inChannels, stride: xs)
    checkRows(rows, g, channels: outChannels, stride: gs)
    precondition(rows.lowerBound % height == 0 && rows.upperBound % height == 0)
    precondition(weights.count == weightCount && scratch.count >= workspaceCount)
    let parts = parts ?? 0..<gradientParts
    T.kernels.convGradient(
      shape, Int32(parts.lowerBound), Int32(parts.upperBound), Int64(rows.lowerBound), Int64(rows.upperBound),
      x.base, Int64(xs), padding, g.base, Int64(gs),
      weights.base, bias?.base, scratch.base)
  }
}
