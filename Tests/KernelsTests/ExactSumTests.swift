import AIPOKernels
import Testing

@Suite struct ExactSumTests {
  private static let greatest = Double.greatestFiniteMagnitude
  private static let cases: [[Double]] = [
    // The sum first, then the terms. To the nearest, ties to even, and beyond a tie.
    [1, 1e100, 1, -1e100], [2, 1, 1e100, 1, -1e100], [0], [0, -0.0],
    [0x1p53, 0x1p53, 1], [0x1.0000000000001p53, 0x1p53, 1, 0x1p-60], [0x1.0000000000002p53, 0x1p53, 3],
    [-0x1.0000000000001p53, -0x1p53, -1, -0x1p-1074], [0x1p53, 0x1p53, 1, -0x1p-1074],
    [0x1.0000000000001p0, 1, 0x1p-53, 0x1p-105],
    // Far apart, and at the ends of what there is.
    [0x1p-1000, 0x1p1000, 0x1p-1000, -0x1p1000], [0x1p-1073, 0x1p-1074, 0x1p-1074],
    [Double.leastNormalMagnitude.nextDown, 0x1p-1022, -0x1p-1074], [.infinity, greatest, greatest],
    [greatest, greatest, greatest, -greatest], [.infinity, 1, .infinity], [-.infinity, -.infinity, 3],
  ]

  @Test(arguments: cases)
  func sumsAreRoundedOnce(_ numbers: [Double]) {
    let (expected, terms) = (numbers[0], Array(numbers.dropFirst()))
    #expect(ExactSum(of: terms).value == expected)
    #expect(ExactSum(of: terms.reversed()).value == expected)
    #expect(ExactSum(of: terms.map { -$0 }).value == -expected)
  }

  @Test(arguments: [[Double.nan], [Double.infinity, -Double.infinity], [1, Double.nan, Double.infinity]])
  func whatIsNoNumberStaysSo(_ terms: [Double]) { #expect(ExactSum(of: terms).value.isNaN) }

  /// Against integers, which Swift rounds to the nearest double.
  @Test func manyTermsInAnyOrderAndPartsAreTheirIntegersSum() {
    var random = Philox(seed: 3, index: 0, purpose: .noise)
    let integers = (0..<9000).map { _ in Int(truncatingIfNeeded: random.next()) >> 14 }
    let terms = integers.map { Double($0) * 0x1p-40 }
    let expected = Double(integers.reduce(0, +)) * 0x1p-40
    #expect(ExactSum(of: terms).value == expected)
    #expect(ExactSum(of: terms.shuffled()).value == expected)
    for cut in [1, 999, 1000, 4501] {
      var sum = ExactSum(of: Array(terms[cut...]))
      sum.add(ExactSum(of: Array(terms[..<cut])))
      #expect(sum.value == expected)
    }
    // More of one sign than a chunk of the sum can hold without carrying.
    #expect(ExactSum(of: [Double](repeating: -0.1, count: 1 << 20)).value == -0.1 * 0x1p20)
  }
}
