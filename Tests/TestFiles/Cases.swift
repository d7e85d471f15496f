import Foundation

/// Small files on which the program was once wrong, in Cases/.
package enum Cases {
  package static func path(_ name: String) -> String {
    URL(filePath: #filePath).deletingLastPathComponent().appending(components: "Cases", name).path
  }
}
