import AIPO

/// What `--version` says, and what reports carry.
enum ProgramVersion {
  static let number = "0.1.0"

  /// The variant of the kernels that this machine runs.
  static var kernels: String { KernelVariant.current }

  static var description: String { "\(number) (kernels \(kernels), BLAS \(BLASLibrary.description))" }
}
