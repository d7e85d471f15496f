import AIPOPlatform
import CAIPOOpenBLAS

/// The BLAS that the process runs with.
public enum BLASLibrary {
  /// Its name, version, build options and the processor it is tuned for, as it tells them itself.
  public static var description: String {
    let words = String(cString: openblas_get_config()).split(separator: " ")
    return words.prefix(2).joined(separator: " ") + " " + core
  }

  private static var core: String { String(cString: openblas_get_corename()) }

  /// Starts this program anew where OpenBLAS takes the processor for one that it isn't; returns where all is well.
  ///
  /// An OpenBLAS older than the processor takes it for the oldest that it knows, without AVX: products of matrices then take
  /// several times as long. It reads `OPENBLAS_CORETYPE` only while it is loaded. Where that is set already, it stays.
  public static func startAnewIfMistaken() {
    #if os(Linux)
      guard core == "Prescott", getenv("OPENBLAS_CORETYPE") == nil,
        let variant = KernelVariant.available.first(where: { $0.hasPrefix("avx") })
      else { return }
      setenv("OPENBLAS_CORETYPE", variant == "avx512" ? "SkylakeX" : "Haswell", 0)
      execv("/proc/self/exe", CommandLine.unsafeArgv)
    #endif
  }
}
