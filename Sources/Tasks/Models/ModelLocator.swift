import AIPOKernels
import AIPOPlatform

/// Where priors are looked for.
public enum ModelLocator {
  /// The shipped prior that is taken when none is named and nothing is known of the images; others lie beside it.
  public static let defaultName = "fashion-mnist-smooth.safetensors"

  /// The named file, else `$AIPO_MODEL`, else a shipped prior in `../share/aipo` beside the executable or in `Models` in a
  /// folder above it: the first of `names(for: image)` that there is.
  public static func path(named: String? = nil, from origin: String = "--model", for image: ImageShape? = nil)
    throws(TaskError) -> String
  {
    if let named { return try existing(named, from: origin) }
    if let value = environment { return try existing(value, from: "$AIPO_MODEL") }
    let folders = executablePath().map(candidateFolders) ?? []
    if let path = shipped(for: image, in: folders) { return path }
    throw TaskError(
      .missing,
      """
      no model \(defaultName) in \(folders.first ?? "../share/aipo") nor in Models above the executable; \
      name one by --model FILE or $AIPO_MODEL
      """)
  }

  /// `$AIPO_MODEL`
  private static var environment: String? {
    getenv("AIPO_MODEL").flatMap { $0.pointee == 0 ? nil : String(cString: $0) }
  }

  /// Whether a prior is chosen by the images: where none is named.
  package static func chooses(named: String?) -> Bool { named == nil && environment == nil }

  /// The shipped priors for images of a shape, the most suitable first: for grey pictures of 28×28 that of garments, for
  /// others those of photographs, the fast one first where a picture has more than four million pixels. Where none of these
  /// has been shipped, or the shape isn't known, it is that of garments.
  static func names(for image: ImageShape?) -> [String] {
    let garments = ImageShape(height: 28, width: 28, channels: 1)
    guard let image, image != garments, !image.isVector, let kind = [1: "grey", 3: "colour"][image.channels]
    else { return [defaultName] }
    let names = ["photographs-\(kind).safetensors", "photographs-\(kind)-fast.safetensors"]
    return (image.height * image.width > 1 << 22 ? names.reversed() : names) + [defaultName]
  }

  /// The first of `names(for:)` that lies in one of the folders.
  package static func shipped(for image: ImageShape?, in folders: [String]) -> String? {
    for name in names(for: image) {
      if let folder = folders.first(where: { isFile("\($0)/\(name)") }) { return "\(folder)/\(name)" }
    }
    return nil
  }

  /// The shipped recipes of `train`, in `recipes/` beside the shipped priors.
  public static let recipeNames =
    "grey-28, grey-64, colour-32, colour-64, patches, patches-quick, one-picture, smooth-28, points"

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
