import AIPOPlatform

/// Where priors are looked for.
public enum ModelLocator {
  /// The shipped prior that is taken when none is named; others lie beside it.
  public static let defaultName = "fashion-mnist-glow.safetensors"

  /// The named file, else `$AIPO_MODEL`, else the shipped prior in `../share/aipo` beside the executable or
  /// in `Models` in a folder above it.
  public static func path(named: String? = nil, from origin: String = "--model") throws(TaskError) -> String {
    if let named { return try existing(named, from: origin) }
    if let value = getenv("AIPO_MODEL"), value.pointee != 0 {
      return try existing(String(cString: value), from: "$AIPO_MODEL")
    }
    var tried: [String] = []
    if let executable = executablePath() {
      for folder in candidateFolders(executable: executable) {
        let path = folder + "/" + defaultName
        if isFile(path) { return path }
        tried.append(folder)
      }
    }
    throw TaskError(
      .missing,
      """
      no model \(defaultName) in \(tried.first ?? "../share/aipo") nor in Models above the executable; \
      name one by --model FILE or $AIPO_MODEL
      """)
  }

  /// The shipped recipes of `train`, in `recipes/` beside the shipped priors.
  public static let recipeNames =
    "grey-28, grey-64, colour-32, colour-64, patches, patches-quick, smooth-28, points"

  /// The file of a recipe: the path itself, or of a bare name that no file has, the shipped one.
  public static func recipe(named name: String) throws(TaskError) -> String {
    guard !name.contains("/"), !isFile(name), let executable = executablePath() else { return name }
    let paths = candidateFolders(executable: executable).map { "\($0)/recipes/\(name).yaml" }
    if let path = paths.first(where: isFile) { return path }
    guard !name.contains(".") else { return name }
    throw TaskError(
      .missing, "--config \(name): there is no such file, nor a shipped recipe but \(recipeNames)")
  }

  private static func existing(_ path: String, from origin: String) throws(TaskError) -> String {
    var status = stat()
    guard stat(path, &status) == 0 else {
      let reason = String(cString: strerror(errno))
      throw TaskError(.missing, "model '\(path)' (from \(origin)): \(reason)")
    }
    // One like /dev/zero never ends.
    if status.st_mode & S_IFMT == S_IFCHR {
      throw TaskError(.missing, "model '\(path)' (from \(origin)): is a device, expected a file")
    }
    return path
  }

  private static func isFile(_ path: String) -> Bool {
    var status = stat()
    return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFREG
  }

  private static func candidateFolders(executable: String) -> [String] {
    var folder = parent(of: executable)
    var folders = [parent(of: folder) + "/share/aipo"]
    while folder != "/", !folder.isEmpty {
      folders.append(folder + "/Models")
      folder = parent(of: folder)
    }
    return folders
  }

  private static func parent(of path: String) -> String {
    guard let slash = path.lastIndex(of: "/"), slash != path.startIndex else { return "/" }
    return String(path[..<slash])
  }

  package static func executablePath() -> String? {
    #if os(Linux)
      let resolved = realpath("/proc/self/exe", nil)
    #else
      var size: UInt32 = 4096
      var buffer = [CChar](repeating: 0, count: Int(size))
      guard _NSGetExecutablePath(&buffer, &size) == 0 else { return nil }
      let resolved = realpath(buffer, nil)
    #endif
    guard let resolved else { return nil }
    defer { free(resolved) }
    return String(cString: resolved)
  }
}
