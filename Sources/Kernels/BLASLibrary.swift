import CAIPOOpenBLAS

/// The BLAS that the process runs with.
public enum BLASLibrary {
  /// Its name, version, build options and the processor it is tuned for, as it tells them itself.
  public static var description: String {
    let words = String(cString: openblas_get_config()).split(separator: " ")
    return words.prefix(2).joined(separator: " ") + " " + String(cString: openblas_get_corename())
  }
}
