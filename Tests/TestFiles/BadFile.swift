/// A file that nobody should trust, and what the error that refuses it must speak of.
package struct BadFile: Sendable, CustomStringConvertible {
  package let name: String
  package let bytes: [UInt8]
  package let says: String

  init(_ name: String, _ bytes: [UInt8], _ says: String) {
    self.name = name
    self.bytes = bytes
    self.says = says
  }

  package var description: String { name }
}
