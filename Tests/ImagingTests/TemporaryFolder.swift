import AIPOKernels

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// A folder that goes away with the object.
final class TemporaryFolder {
  let path: String

  init() {
    var template = Array("/tmp/aipo-imaging-XXXXXX".utf8CString)
    path = String(cString: mkdtemp(&template)!)
  }

  deinit { Self.remove(path) }

  func file(_ name: String) -> String { "\(path)/\(name)" }

  /// Writes a file without any of the code under test.
  @discardableResult
  func write(_ bytes: [UInt8], _ name: String) -> String {
    let handle = fopen(file(name), "wb")!
    fwrite(bytes, 1, bytes.count, handle)
    fclose(handle)
    return file(name)
  }

  @discardableResult func write(_ text: String, _ name: String) -> String { write(Array(text.utf8), name) }

  /// Names in the folder, hidden ones included.
  var names: [String] {
    let stream = opendir(path)!
    defer { closedir(stream) }
    var result = [String]()
    while let entry = readdir(stream) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 1) { String(cString: $0) }
      }
      if name != ".", name != ".." { result.append(name) }
    }
    return result.sorted()
  }

  private static func remove(_ path: String) {
    if let stream = opendir(path) {
      while let entry = readdir(stream) {
        let name = withUnsafePointer(to: &entry.pointee.d_name) {
          $0.withMemoryRebound(to: CChar.self, capacity: 1) { String(cString: $0) }
        }
        if name != ".", name != ".." { remove("\(path)/\(name)") }
      }
      closedir(stream)
    }
    removeEntry(path)
  }
}

private func removeEntry(_ path: String) { _ = remove(path) }

func bytes(of path: String) throws -> [UInt8] { try InputFile.bytes(path: path, limit: 1 << 30) }

/// `(i·mul mod mod)`, the values of the fixtures.
func ramp(_ count: Int, mul: Int = 37, mod: Int = 256) -> [Int] { (0..<count).map { $0 * mul % mod } }
