/// The colours of methods: one a method, the same in every chart, table, sheet and report.
///
/// Any two stay apart for readers with protanopia, deuteranopia or tritanopia, and stand out from the ground by a
/// contrast of 3 at least, in the light theme as in the dark one; the tests measure both.
package enum MethodColours {
  package struct Colour {
    /// `nil` is free for methods that aren't here.
    var method: String?
    package var light: UInt32
    package var dark: UInt32
  }

  package static let table: [Colour] = [
    Colour(method: "aipo", light: 0x1650D8, dark: 0x5A82FF),
    Colour(method: "fixed", light: 0xD06400, dark: 0xFF6A3C),
    Colour(method: "gaussian", light: 0x006B55, dark: 0x31D98A),
    Colour(method: "latent", light: 0xD86AB0, dark: 0xFFA6F0),
    Colour(method: "restarts", light: 0x743600, dark: 0xF2E84A),
    Colour(method: "tv", light: 0x2F98E8, dark: 0xB8F4FF),
    Colour(method: "lasso", light: 0x420A4C, dark: 0xB45FC0),
  ]

  /// The method's place in the table; nil where it isn't there.
  package static func place(of method: String) -> Int? { table.firstIndex { $0.method == method } }

  /// A place for each of the methods of a picture: those that the table doesn't know take what the others leave, in
  /// their order, and begin anew when nothing is left.
  package static func places(of methods: [String]) -> [String: Int] {
    var places: [String: Int] = [:]
    for method in methods { places[method] = place(of: method) }
    let free = table.indices.filter { !places.values.contains($0) }
    var next = 0
    for method in methods where places[method] == nil {
      places[method] = free.isEmpty ? next % table.count : free[next % free.count]
      next += 1
    }
    return places
  }

  /// The colours as CSS variables, `--s0` and so on.
  package static func variables(_ colour: KeyPath<Colour, UInt32>) -> String {
    table.indices.map { "--s\($0):\(hex(table[$0][keyPath: colour]))" }.joined(separator: ";")
  }

  static func hex(_ colour: UInt32) -> String {
    let digits = String(colour, radix: 16)
    return "#" + String(repeating: "0", count: 6 - digits.count) + digits
  }
}
