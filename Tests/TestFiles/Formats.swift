import Foundation

/// Files of laboratories' formats, in Formats/, which Tests/Parity/make_formats.py wrote by other programs.
package enum Formats {
  package static func path(_ name: String) -> String {
    URL(filePath: #filePath).deletingLastPathComponent().appending(components: "Formats", name).path
  }

  package static func bytes(_ name: String) -> [UInt8] {
    Array((try? Data(contentsOf: URL(filePath: path(name)))) ?? Data())
  }
}
