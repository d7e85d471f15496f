import Foundation
import Testing

@testable import AIPOKernels

@Suite struct RandomTests {
  /// Known answers of the Random123 distribution (`kat_vectors`, philox4x32 with 10 rounds).
  @Test func knownAnswers() {
    #expect(
      Philox.rounds(SIMD4(0, 0, 0, 0), key: SIMD2(0, 0))
        == SIMD4(0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8))
    let ones = UInt32.max
    #expect(
      Philox.rounds(SIMD4(ones, ones, ones, ones), key: SIMD2(ones, ones))
        == SIMD4(0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd))
    #expect(
      Philox.rounds(
        SIMD4(0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344), key: SIMD2(0xa409_3822, 0x299f_31d0))
        == SIMD4(0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1))
  }

  /// The stream's numbers are the generator's blocks in order.
  @Test func streamIsTheBlocks() {
    var random = Philox(seed: 0x1234_5678_9abc_def0, index: 0xffee_ddcc_0011, purpose: .mask)
    for block: UInt32 in 0..<3 {
      let expected = Philox.rounds(
        SIMD4(block, RandomPurpose.mask.rawValue, 0xddcc_0011, 0xffee), key: SIMD2(0x9abc_def0, 0x1234_5678))
      for k in 0..<4 { #expect(random.next32() == expected[k]) }
    }
  }

  @Test func streamsDiffer() {
    func first(_ seed: UInt64, _ index: UInt64, _ purpose: RandomPurpose) -> UInt64 {
      var random = Philox(seed: seed, index: index, purpose: purpose)
      return random.next()
    }
    let values = [
      first(1, 0, .noise), first(2, 0, .noise), first(1, 1, .noise), first(1, 0, .mask),
      first(1 << 32, 0, .noise),
      first(1, 1 << 32, .noise),
    ]
    #expect(Set(values).count == values.count)
    #expect(first(1, 0, .noise) == first(1, 0, .noise))
  }

  @Test func distributions() {
    var random = Philox(seed: 1, purpose: .test)
    let n = 40000
    let uniforms = (0..<n).map { _ in random.uniform() }
    #expect(uniforms.allSatisfy { $0 >= 0 && $0 < 1 })
    #expect(
      abs(uniforms.reduce(0, +) / Double(n) - 0.5) < 4 * (1 / 12.0).squareRoot() / Double(n).squareRoot())
    let normals = (0..<n).map { _ in random.normal() }
    func moment(_ k: Double) -> Double { normals.reduce(0) { $0 + pow($1, k) } / Double(n) }
    #expect(
      abs(moment(1)) < 0.02 && abs(moment(2) - 1) < 0.03 && abs(moment(3)) < 0.08 && abs(moment(4) - 3) < 0.2)
    let pairs = zip(normals, normals.dropFirst()).reduce(0) { $0 + $1.0 * $1.1 } / Double(n)
    #expect(abs(pairs) < 0.02)
  }
}
