import AIPO

/// What `--version` says, and what reports carry.
enum ProgramVersion {
  static let number = "0.1.0"

  /// The variant of the kernels that this machine runs.
  static var kernels: String { KernelVariant.current }

  /// What tells this program from others that may solve otherwise: its version, the first digits of its file's
  /// SHA-256, kernels and BLAS.
  static func build() throws(FileError) -> String {
    let bytes = try InputFile.bytes(
      path: ModelLocator.executablePath() ?? CommandLine.arguments[0], limit: 1 << 30)
    return "\(number), build \(SHA256.hexDigest(bytes).prefix(12)) (kernels \(kernels), BLAS "
      + "\(BLASLibrary.description))"
  }

  static var description: String { "\(number) (kernels \(kernels), BLAS \(BLASLibrary.description))" }
}
