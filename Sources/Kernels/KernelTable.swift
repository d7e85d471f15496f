import CAIPOKernels

/// The C kernels of one element type, by name. What each does stands in `ckernels.h`.
public struct KernelTable<T: KernelScalar>: Sendable {
  typealias In = UnsafePointer<T>
  typealias Out = UnsafeMutablePointer<T>
  typealias Doubles = UnsafeMutablePointer<Double>
  typealias Shape = UnsafePointer<ck_conv>
  typealias Affine = UnsafePointer<ck_affine>

  let convPackedCount: @Sendable (Shape) -> Int
  let convPack: @Sendable (Shape, In, Out) -> Void
  let convPackAdjoint: @Sendable (Shape, In, Out) -> Void
  let convWorkspace: @Sendable (Shape) -> Int
  let conv:
    @Sendable (
      Shape, Int64, Int64, In, Int64, In, In?, T, Int32, UnsafeMutablePointer<UInt8>?, Out, Int64, Out
    ) -> Void
  let convGradientParts: @Sendable (Shape) -> Int32
  let convGradientWorkspace: @Sendable (Shape) -> Int
  let convGradient:
    @Sendable (Shape, Int32, Int32, Int64, Int64, In, Int64, T, In, Int64, Out, Out?, Out) -> Void
  let actnorm: @Sendable (Int32, Int64, Int32, In, In, Out) -> Void
  let actnormVJP: @Sendable (Int32, Int64, Int32, In, In, Out?, Out, Doubles?, Doubles?) -> Void
  let moments: @Sendable (Int64, Int32, In, Doubles, Doubles) -> Void
  let affine:
    @Sendable (
      Affine, Int32, Int32, Int32, Int32, Int32, Int64, Int64, In, Out, Int64, Doubles?, Int32, Out?
    ) -> Void
  let affineVJP:
    @Sendable (
      Affine, Int32, Int32, Int32, Int32, Int32, Int64, Int64, In, UnsafePointer<Double>, Out, Int64, Out
    ) -> Void
  let logistic: @Sendable (Int64, Out, Doubles) -> Void
  let logisticInverse: @Sendable (Int64, Out, Doubles) -> Void
  let logisticVJP: @Sendable (Int64, Double, Out, Out) -> Void
  let logisticInverseVJP: @Sendable (Int64, Double, Out, Out) -> Void
  let silu: @Sendable (Int64, In, Out, Out?) -> Void
  let squeeze: @Sendable (Int32, Int32, Int32, Int64, Int64, In, Out) -> Void
  let unsqueeze: @Sendable (Int32, Int32, Int32, Int64, Int64, In, Out) -> Void
  let copyChannels: @Sendable (Int64, Int32, In, Int64, Out, Int64) -> Void
  let checkerboard: @Sendable (Int32, Int32, Int32, Int32, Int32, Int64, Int64, In, Out) -> Void
  let dot: @Sendable (Int64, In, In) -> Double
  let multiplyBy: @Sendable (Int64, In, Out) -> Void
  let sumPixels: @Sendable (Int64, Int32, In, Int64, Out) -> Void
  let axpby: @Sendable (Int64, T, In, T, Out) -> Void
  let adam:
    @Sendable (
      Int64, Double, Double, Double, Double, Double, Double, Double, Double, In, In, In, In, In?, Out, Out,
      Out, Out?
    ) -> Void
}

extension Float: KernelScalar {
  public static var dtypeName: String { "F32" }
  public static let kernels = KernelTable<Float>(
    convPackedCount: ck_conv_packed_count_f32, convPack: ck_conv_pack_f32,
    convPackAdjoint: ck_conv_pack_adjoint_f32, convWorkspace: ck_conv_workspace_f32, conv: ck_conv_fwd_f32,
    convGradientParts: ck_conv_wgrad_parts_f32,
    convGradientWorkspace: ck_conv_wgrad_workspace_f32, convGradient: ck_conv_wgrad_f32,
    actnorm: ck_actnorm_f32, actnormVJP: ck_actnorm_vjp_f32, moments: ck_moments_f32,
    affine: ck_affine_f32, affineVJP: ck_affine_vjp_f32,
    logistic: ck_logistic_fwd_f32, logisticInverse: ck_logistic_inv_f32, logisticVJP: ck_logistic_fwd_vjp_f32,
    logisticInverseVJP: ck_logistic_inv_vjp_f32, silu: ck_silu_f32,
    squeeze: ck_squeeze_f32, unsqueeze: ck_unsqueeze_f32,
    copyChannels: ck_copy_channels_f32,
    checkerboard: ck_checkerboard_f32, dot: ck_dot_f32, multiplyBy: ck_multiply_by_f32,
    sumPixels: ck_sum_pixels_f32,
    axpby: ck_axpby_f32, adam: ck_adam_f32)
}

extension Double: KernelScalar {
  public static var dtypeName: String { "F64" }
  public static let kernels = KernelTable<Double>(
    convPackedCount: ck_conv_packed_count_f64, convPack: ck_conv_pack_f64,
    convPackAdjoint: ck_conv_pack_adjoint_f64, convWorkspace: ck_conv_workspace_f64, conv: ck_conv_fwd_f64,
    convGradientParts: ck_conv_wgrad_parts_f64,
    convGradientWorkspace: ck_conv_wgrad_workspace_f64, convGradient: ck_conv_wgrad_f64,
    actnorm: ck_actnorm_f64, actnormVJP: ck_actnorm_vjp_f64, moments: ck_moments_f64,
    affine: ck_affine_f64, affineVJP: ck_affine_vjp_f64,
    logistic: ck_logistic_fwd_f64, logisticInverse: ck_logistic_inv_f64, logisticVJP: ck_logistic_fwd_vjp_f64,
    logisticInverseVJP: ck_logistic_inv_vjp_f64, silu: ck_silu_f64,
    squeeze: ck_squeeze_f64, unsqueeze: ck_unsqueeze_f64,
    copyChannels: ck_copy_channels_f64,
    checkerboard: ck_checkerboard_f64, dot: ck_dot_f64, multiplyBy: ck_multiply_by_f64,
    sumPixels: ck_sum_pixels_f64,
    axpby: ck_axpby_f64, adam: ck_adam_f64)
}
