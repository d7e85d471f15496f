/// Safetensors files.
extension BadFile {
  private static func file(_ header: String, data: Int = 0) -> [UInt8] {
    raw(Array(header.utf8), data: data)
  }

  private static func raw(_ header: [UInt8], data: Int) -> [UInt8] {
    var bytes: [UInt8] = []
    for k in 0..<8 { bytes.append(UInt8(truncatingIfNeeded: header.count >> (8 * k))) }
    return bytes + header + [UInt8](repeating: 0, count: data)
  }

  private static func entry(_ name: String, _ dtype: String, _ shape: String, _ offsets: String) -> String {
    "\"\(name)\":{\"dtype\":\"\(dtype)\",\"shape\":\(shape),\"data_offsets\":\(offsets)}"
  }

  package static let safetensors: [Self] = [
    Self("empty", [], "0 bytes"),
    Self("seven bytes", [1, 0, 0, 0, 0, 0, 0], "7 bytes"),
    Self(
      "a checkpoint of torch", TestFiles.checkpoint([], [:]), "aipo import"),
    Self(
      "header longer than the file", raw(Array("{}".utf8), data: 0).dropLast().map { $0 }, "header length"),
    Self("header of 2^63 bytes", [0, 0, 0, 0, 0, 0, 0, 0x80] + Array("{}".utf8), "at most"),
    Self("header of all ones", [UInt8](repeating: 0xFF, count: 64), "at most"),
    Self("not UTF-8", raw([0x7B, 0x22, 0xC3, 0x28, 0x22, 0x7D], data: 0), "UTF-8"),
    Self("not JSON", file("hello world"), "expected \"{\""),
    Self("a list", file("[]"), "expected \"{\""),
    Self("unclosed", file("{\"a\":{\"dtype\":\"F32\""), "\"}\""),
    Self("text after the object", file("{} x"), "the header's end"),
    Self("unknown dtype", file("{\(entry("a", "F8", "[1]", "[0,1]"))}", data: 1), "dtype"),
    Self("negative extent", file("{\(entry("a", "F32", "[-1]", "[0,4]"))}", data: 4), "natural number"),
    Self("fractional extent", file("{\(entry("a", "F32", "[1.5]", "[0,4]"))}", data: 4), "\"]\""),
    Self("extent of 2^63", file("{\(entry("a", "F32", "[9223372036854775808]", "[0,4]"))}", data: 4), "2^63"),
    Self(
      "extent of 30 digits",
      file("{\(entry("a", "U8", "[1\(String(repeating: "0", count: 29))]", "[0,4]"))}", data: 4), "2^63"),
    Self(
      "product of 2^64", file("{\(entry("a", "F32", "[4294967296,4294967296]", "[0,4]"))}", data: 4),
      "fits in memory"),
    Self(
      "product that wraps to the size",
      file("{\(entry("a", "U8", "[4611686018427387905,4]", "[0,4]"))}", data: 4), "fits in memory"),
    Self("reversed offsets", file("{\(entry("a", "F32", "[1]", "[4,0]"))}", data: 4), "begin ≤ end"),
    Self("three offsets", file("{\(entry("a", "F32", "[1]", "[0,4,8]"))}", data: 4), "begin ≤ end"),
    Self("beyond the data", file("{\(entry("a", "F32", "[2]", "[0,8]"))}", data: 4), "end of tensor"),
    Self(
      "size that doesn't fit the shape", file("{\(entry("a", "F32", "[2]", "[0,4]"))}", data: 4),
      "4 bytes, expected 8"),
    Self(
      "overlap", file("{\(entry("a", "F32", "[2]", "[0,8]")),\(entry("b", "F32", "[1]", "[4,8]"))}", data: 8),
      "begin of tensor"),
    Self(
      "the same range twice",
      file("{\(entry("a", "F32", "[1]", "[0,4]")),\(entry("b", "F32", "[1]", "[0,4]"))}", data: 4),
      "begin of tensor"),
    Self(
      "gap", file("{\(entry("a", "F32", "[1]", "[0,4]")),\(entry("b", "F32", "[1]", "[8,12]"))}", data: 12),
      "begin of tensor"),
    Self(
      "data that belongs to nothing", file("{\(entry("a", "F32", "[1]", "[0,4]"))}", data: 9),
      "data is 9 bytes"),
    Self(
      "a name twice", file("{\(entry("a", "F32", "[0]", "[0,0]")),\(entry("a", "F32", "[0]", "[0,0]"))}"),
      "twice"),
    Self(
      "a key twice",
      file("{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}"), "once each"),
    Self(
      "unknown key", file("{\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0],\"x\":1}}"),
      "once each"),
    Self("no shape", file("{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,0]}}"), "incomplete"),
    Self("metadata twice", file("{\"__metadata__\":{},\"__metadata__\":{}}"), "twice"),
    Self("metadata key twice", file("{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}"), "twice"),
    Self("metadata of numbers", file("{\"__metadata__\":{\"a\":1}}"), "expected \"\"\""),
    Self("half a surrogate pair", file("{\"__metadata__\":{\"a\":\"\\ud800\"}}"), "surrogate"),
    Self("newline in a name", file("{\"a\nb\":{}}"), "control character"),
    Self("deep nesting", file(String(repeating: "{\"a\":", count: 100_000)), "entry of tensor"),
  ]
}
