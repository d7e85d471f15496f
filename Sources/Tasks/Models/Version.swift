import AIPOKernels
import AIPOPlatform

/// The library's version, which results carry.
public enum AIPOVersion {
  public static let number = "0.1.0"

  /// The variant of the kernels that this machine runs.
  public static var kernels: String { KernelVariant.current }

  /// What tells this program from others that may solve otherwise: its version, the first digits of its file's
  /// SHA-256, kernels and BLAS.
  public static func build() throws(FileError) -> String {
    let bytes = try InputFile.bytes(
      path: ModelLocator.executablePath() ?? CommandLine.arguments[0], limit: 1 << 30)
    return "\(number), build \(SHA256.hexDigest(bytes).prefix(12)) (kernels \(kernels), BLAS "
      + "\(BLASLibrary.description))"
  }

  /// Throws where `$AIPO_KERNELS` names a variant of the kernels that this processor doesn't have: a result must not come from
  /// another one than was asked for.
  public static func requireKnownKernels() throws(TaskError) {
    guard let name = getenv("AIPO_KERNELS").map({ String(cString: $0) }), !name.isEmpty else { return }
    let available = KernelVariant.available
    guard !available.contains(name) else { return }
    throw TaskError(
      .usage,
      "AIPO_KERNELS is '\(name)', expected one of \(available.joined(separator: ", ")) on this machine")
  }

  public static var description: String { "\(number) (kernels \(kernels), BLAS \(BLASLibrary.description))" }
}

/// What results carry, so that they can be made again.
public struct Provenance: Codable, Sendable {
  public var version = AIPOVersion.number
  public var kernels = AIPOVersion.kernels
  /// The model's name, and the SHA-256 of its file.
  public var model: String
  public var checksum: String
  public var seed: UInt64
  /// The command that gives the same; empty where there is none.
  public var command: String

  public init(model: ModelSource, seed: UInt64, command: String = "") {
    self.model = model.name
    checksum = model.checksum
    self.seed = seed
    self.command = command
  }
}

/// A word as a shell reads it.
package func shellQuoted(_ word: String) -> String {
  let isPlain =
    !word.isEmpty
    && word.utf8.allSatisfy { byte in
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"):
        true
      default: "-_./:,=+@%".utf8.contains(byte)
      }
    }
  return isPlain ? word : "'" + word.replacing("'", with: "'\\''") + "'"
}
