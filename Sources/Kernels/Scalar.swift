/// The element types that the kernels are built for: `Float` and `Double`.
public protocol KernelScalar: BinaryFloatingPoint, SIMDScalar, Sendable, Codable
where Stride == Self {
  /// The safetensors name of the type: `F32` or `F64`.
  static var dtypeName: String { get }
}

extension Float: KernelScalar {
  public static var dtypeName: String { "F32" }
}

extension Double: KernelScalar {
  public static var dtypeName: String { "F64" }
}
