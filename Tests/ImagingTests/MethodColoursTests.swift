import Foundation
import Testing

@testable import AIPOImaging

struct MethodColoursTests {
  private static func linear(_ colour: UInt32) -> [Double] {
    [16, 8, 0].map { shift in
      let value = Double(colour >> UInt32(shift) & 255) / 255
      return value <= 0.04045 ? value / 12.92 : pow((value + 0.055) / 1.055, 2.4)
    }
  }

  private static func product(_ matrix: [[Double]], _ vector: [Double]) -> [Double] {
    matrix.map { zip($0, vector).reduce(0) { $0 + $1.0 * $1.1 } }
  }

  /// CIE L*a*b* under D65.
  private static func lab(_ linear: [Double]) -> [Double] {
    let matrix = [
      [0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
      [0.0193339, 0.1191920, 0.9503041],
    ]
    let f = zip(product(matrix, linear), [0.95047, 1, 1.08883]).map { value, white -> Double in
      let ratio = value / white
      return ratio > 216.0 / 24389 ? cbrt(ratio) : (24389.0 / 27 * ratio + 16) / 116
    }
    return [116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])]
  }

  private static func luminance(_ colour: UInt32) -> Double {
    zip(linear(colour), [0.2126, 0.7152, 0.0722]).reduce(0) { $0 + $1.0 * $1.1 }
  }

  /// What readers without one kind of cone see, at full severity: G. M. Machado et al., IEEE TVCG 15 (2009).
  private static let vision: [(name: String, matrix: [[Double]])] = [
    ("all cones", [[1, 0, 0], [0, 1, 0], [0, 0, 1]]),
    (
      "protanopia",
      [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    (
      "deuteranopia",
      [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    (
      "tritanopia",
      [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
  ]

  /// A difference of 2.3 is just noticeable; 12 tells thin curves apart.
  @Test(arguments: [\MethodColours.Colour.light, \.dark])
  func anyTwoStayApartForEverybody(theme: KeyPath<MethodColours.Colour, UInt32> & Sendable) {
    let colours = MethodColours.table.map { Self.linear($0[keyPath: theme]) }
    for (name, matrix) in Self.vision {
      let seen = colours.map { Self.lab(Self.product(matrix, $0).map { min(max($0, 0), 1) }) }
      for (k, a) in seen.enumerated() {
        for (j, b) in seen[..<k].enumerated() {
          let difference = zip(a, b).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }.squareRoot()
          #expect(difference > 12, "\(name): \(j) and \(k) differ by \(difference)")
        }
      }
    }
  }

  @Test(arguments: zip([\MethodColours.Colour.light, \.dark], [0xFFFFFF, 0x1B1D21] as [UInt32]))
  func standOutFromTheGround(theme: KeyPath<MethodColours.Colour, UInt32> & Sendable, ground: UInt32) {
    for colour in MethodColours.table {
      let pair = [Self.luminance(colour[keyPath: theme]), Self.luminance(ground)].sorted()
      #expect((pair[1] + 0.05) / (pair[0] + 0.05) >= 2.95, "\(colour)")
    }
  }

  @Test func oneColourAMethod() {
    let names = MethodColours.table.map(\.method)
    #expect(Set(names).count == names.count)
    let places = MethodColours.places(of: ["mine", "aipo", "fixed", "other"])
    #expect(places["aipo"] == MethodColours.place(of: "aipo") && Set(places.values).count == 4)
    #expect(places == MethodColours.places(of: ["aipo", "mine", "other", "fixed"]))
    let many = MethodColours.places(of: (0..<20).map(String.init))
    #expect(many.count == 20 && many.values.allSatisfy(MethodColours.table.indices.contains))
  }
}
