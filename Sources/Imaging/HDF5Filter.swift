import CAIPOZlib

/// What HDF5 does to chunks, undone. Nil where the bytes aren't what a filter gives, or unpack to more than `size`.
enum HDF5Filter {
  static let names = [1: "deflate", 2: "shuffle", 3: "Fletcher-32", 32000: "LZF"]

  static func decode(
    _ id: Int, _ parameters: [Int], _ bytes: [UInt8], size: Int, elementSize: Int
  ) -> [UInt8]? {
    switch id {
    // A checksum may be within what was deflated.
    case 1: inflated(bytes, most: size + 4)
    case 2: unshuffled(bytes, parameters.first ?? elementSize)
    case 3: checked(bytes)
    case 32000: lzf(bytes, most: size + 4)
    default: nil
    }
  }

  /// Of a whole zlib stream.
  static func inflated(_ bytes: [UInt8], most: Int) -> [UInt8]? {
    // Deflate can't expand more than 1032-fold.
    let limit = min(most, bytes.count * 1032 + 64)
    var count = uLongf(limit)
    var input = bytes
    var isWhole = false
    var result = [UInt8](unsafeUninitializedCapacity: limit) { buffer, initialized in
      isWhole = uncompress(buffer.baseAddress, &count, &input, uLong(input.count)) == Z_OK
      initialized = isWhole ? Int(count) : 0
    }
    if !isWhole { return nil }
    result.removeLast(result.count - Int(count))
    return result
  }

  /// First bytes of all elements, then second bytes.
  private static func unshuffled(_ bytes: [UInt8], _ size: Int) -> [UInt8]? {
    guard (1...max(1, bytes.count)).contains(size) else { return nil }
    let count = bytes.count / size
    var result = bytes
    for k in 0..<size {
      for element in 0..<count { result[element * size + k] = bytes[k * count + element] }
    }
    return result
  }

  private static func checked(_ bytes: [UInt8]) -> [UInt8]? {
    guard bytes.count >= 4 else { return nil }
    let data = bytes.dropLast(4)
    var (low, high): (UInt32, UInt32) = (0, 0)
    for place in stride(from: 0, to: data.count, by: 2) {
      let second = place + 1 < data.count ? data[place + 1] : 0
      low = (low + (UInt32(data[place]) << 8 | UInt32(second))) % 65535
      high = (high + low) % 65535
    }
    let found = bytes.suffix(4).reversed().reduce(0) { $0 << 8 | UInt32($1) }
    // 0 and 65535 are the same to it.
    return found % 65536 % 65535 == low && (found >> 16) % 65535 == high ? Array(data) : nil
  }

  /// Source: M. Lehmann, LibLZF 3.6.
  private static func lzf(_ bytes: [UInt8], most: Int) -> [UInt8]? {
    var result = [UInt8]()
    var place = 0
    func next() -> Int? {
      guard place < bytes.count else { return nil }
      place += 1
      return Int(bytes[place - 1])
    }
    while let control = next() {
      if control < 32 {
        guard control < bytes.count - place, result.count + control < most else { return nil }
        result += bytes[place...(place + control)]
        place += control + 1
      } else {
        var length = control >> 5
        if length == 7 {
          guard let more = next() else { return nil }
          length += more
        }
        guard let low = next() else { return nil }
        let start = result.count - ((control & 31) << 8) - low - 1
        guard start >= 0, result.count + length + 2 <= most else { return nil }
        for k in 0..<(length + 2) { result.append(result[start + k]) }
      }
    }
    return result
  }
}
