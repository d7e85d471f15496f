/// The element types that the kernels are built for: `Float` and `Double`.
public protocol KernelScalar: BinaryFloatingPoint, SIMDScalar, Sendable, Codable
where Stride == Self {
  /// The safetensors name of the type: `F32` or `F64`.
  static var dtypeName: String { get }

  /// The C kernels for this type.
  static var kernels: KernelTable<Self> { get }
}
