/// The perceptually uniform colour map *magma* (black through purple and orange to light yellow).
///
/// Source: N. Smith and S. van der Walt, matplotlib (CC0): every eighth of its colours; linear between
/// these, which is right to 1 % of full scale.
public enum ColorMap {
  private static let magma: [UInt32] = [
    0x000004, 0x030312, 0x0A0822, 0x130D34, 0x1D1147, 0x29115A, 0x36106B, 0x440F76, 0x51127C, 0x5D177F,
    0x6A1C81,
    0x762181, 0x832681, 0x902A81, 0x9C2E7F, 0xAA337D, 0xB73779, 0xC43C75, 0xD0416F, 0xDC4869, 0xE75263,
    0xEF5D5E,
    0xF56B5C, 0xF9795D, 0xFC8961, 0xFD9869, 0xFEA772, 0xFEB67C, 0xFEC488, 0xFED395, 0xFDE2A3, 0xFCF0B2,
    0xFCFDBF,
  ]

  /// Red, green and blue of a value on [0, 1]; what lies outside takes the colour of the end.
  public static func color(_ value: Double) -> (red: UInt8, green: UInt8, blue: UInt8) {
    let position = (value >= 0 ? min(value, 1) : 0) * Double(magma.count - 1)
    let index = min(Int(position), magma.count - 2)
    let share = position - Double(index)
    func mix(_ shift: UInt32) -> UInt8 {
      let low = Double(magma[index] >> shift & 255)
      let high = Double(magma[index + 1] >> shift & 255)
      return UInt8((low + share * (high - low)).rounded())
    }
    return (mix(16), mix(8), mix(0))
  }

  /// The map as a CSS gradient from left to right.
  package static let gradient: String = {
    let stops = stride(from: 0, through: 32, by: 4).map { "#" + hex(magma[$0]) }
    return "linear-gradient(90deg, \(stops.joined(separator: ", ")))"
  }()

  private static func hex(_ color: UInt32) -> String {
    let digits = String(color, radix: 16)
    return String(repeating: "0", count: 6 - digits.count) + digits
  }
}
