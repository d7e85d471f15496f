import CAIPOKernels

/// The element types that the kernels are built for: `Float` and `Double`.
public protocol KernelScalar: BinaryFloatingPoint, SIMDScalar, Sendable, Codable
where Stride == Self {
  /// The safetensors name of the type: `F32` or `F64`.
  static var dtypeName: String { get }

  /// What the C kernels call the type.
  static var element: ck_type { get }
}

extension Float: KernelScalar {
  public static var dtypeName: String { "F32" }
  public static var element: ck_type { CK_FLOAT32 }
}

extension Double: KernelScalar {
  public static var dtypeName: String { "F64" }
  public static var element: ck_type { CK_FLOAT64 }
}
