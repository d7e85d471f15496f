import AIPOTestFiles
import Foundation
import Testing

@testable import AIPOSolvers

@Suite struct DiagnosticsTests {
  /// What Tests/Parity/make_diagnostics.py wrote.
  private struct Fixture: Decodable {
    struct Case: Decodable {
      var name: String
      var chains: [[Number]]
      var expected: [String: Number?]
    }
    var cases: [Case]
  }

  /// A number, or the name of one that JSON can't hold.
  private struct Number: Decodable {
    var value: Double

    init(from decoder: any Decoder) throws {
      let container = try decoder.singleValueContainer()
      if let name = try? container.decode(String.self) {
        value = Double(name)!
      } else {
        value = try container.decode(Double.self)
      }
    }
  }

  private static func cases() throws -> [Fixture.Case] {
    let data = try Data(contentsOf: URL(filePath: Cases.path("diagnostics.json")))
    return try JSONDecoder().decode(Fixture.self, from: data).cases
  }

  @Test func equalThoseOfArviZ() throws {
    let cases = try Self.cases()
    #expect(cases.count > 15)
    for one in cases {
      let draws = ChainDraws(one.chains.map { $0.map(\.value) })
      let found: [String: Double?] = [
        "rhat": draws.rHat, "rhatBulk": draws.rHatBulk, "rhatFolded": draws.rHatFolded,
        "essBulk": draws.essBulk, "essTail": draws.essTail, "essMean": draws.essMean,
        "essQuantile": draws.essQuantile(0.1), "mcseMean": draws.mcseMean, "mcseSD": draws.mcseSD,
        "mcseQuantile": draws.mcseQuantile(0.1), "mcseMedian": draws.mcseQuantile(0.5),
        "energyFraction": energyFraction(Array(draws.chains[0])),
      ]
      #expect(Set(found.keys) == Set(one.expected.keys))
      for (name, expected) in one.expected {
        let (found, expected) = (found[name]!, expected?.value)
        guard let expected else {
          #expect(found == nil, "\(one.name), \(name): \(found ?? 0), ArviZ has none")
          continue
        }
        // Chains of different constants: ArviZ divides by what rounding left of 0.
        if expected > 1e12 {
          #expect(found ?? .infinity > 1e12, "\(one.name), \(name)")
          continue
        }
        let difference = abs((found ?? .nan) - expected)
        #expect(
          difference <= 1e-12 * max(1, abs(expected)),
          "\(one.name), \(name): \(found ?? .nan), not \(expected)")
      }
    }
  }

  /// Chains that agree within groups of one start but not with each other.
  @Test func nestedRHatSeesStartsThatWereNotForgotten() throws {
    func chains(apart: Double) -> ChainDraws {
      ChainDraws((0..<32).map { k in [Double(k * 37 % 32) / 32 + apart * Double(k / 8)] })
    }
    let together = try #require(chains(apart: 0).nestedRHat(chainsEach: 8))
    let apart = try #require(chains(apart: 2).nestedRHat(chainsEach: 8))
    #expect(together < 1.1 && apart > 3)
    // By hand: two groups of two chains of one draw. Means 1 and 5, variances within 2 and 2.
    let value = try #require(ChainDraws([[0], [2], [4], [6]]).nestedRHat(chainsEach: 2))
    #expect(abs(value - (1 + 8.0 / 2).squareRoot()) < 1e-15)
    #expect(ChainDraws([[1], [2], [3]]).nestedRHat(chainsEach: 2) == nil)
  }
}
