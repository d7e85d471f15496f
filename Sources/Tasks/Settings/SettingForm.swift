import AIPOPriors
import AIPOProblems
import AIPOSolvers

/// How values are written as text, and read.
package struct SettingForm<Value: SendableMetatype>: Sendable {
  var expected: String
  var words: [String] = []
  let parse: @Sendable (String) throws -> Value?
  let store: @Sendable (Value) -> JSONValue

  /// Hands on the value of a text, or gives what was expected.
  func take(_ text: String, _ body: (Value) -> Void) -> String? {
    do {
      guard let value = try parse(text) else { return expected }
      body(value)
      return nil
    } catch SolverError.invalidOption(_, _, let expected) {
      return expected
    } catch ProblemError.invalidParameter(let name, _, let expected) {
      return "\(expected) as \(name)"
    } catch {
      return "\(error)"
    }
  }
}

extension SettingForm where Value: CustomStringConvertible {
  package static func parsed(_ expected: String, _ parse: @escaping @Sendable (String) throws -> Value?)
    -> SettingForm
  {
    SettingForm(expected: expected, parse: parse, store: { .string($0.description) })
  }
}

extension SettingForm<String> {
  package static var text: SettingForm { .parsed("a text that isn't empty") { $0.isEmpty ? nil : $0 } }
}

extension SettingForm<Double> {
  package static func number(_ range: ClosedRange<Double>, _ expected: String? = nil) -> SettingForm {
    SettingForm(
      expected: expected ?? "a number from \(range.lowerBound) to \(range.upperBound)",
      parse: { Double($0).flatMap { range.contains($0) ? $0 : nil } }, store: { .number($0) })
  }
}

extension SettingForm<Int> {
  package static func whole(_ range: ClosedRange<Int>, _ expected: String? = nil) -> SettingForm {
    SettingForm(
      expected: expected ?? "\(range.lowerBound) to \(range.upperBound)",
      parse: { Int($0).flatMap { range.contains($0) ? $0 : nil } }, store: { .int($0) })
  }
}

extension SettingForm<NumberOrAuto> {
  package static func numberOrAuto(_ expected: String, _ allows: @escaping @Sendable (Double) -> Bool)
    -> SettingForm
  {
    .parsed(expected) { text in
      NumberOrAuto(text).flatMap { value in value.number.map(allows) ?? true ? value : nil }
    }
  }
}

extension SettingForm<[ReconstructionMethod]> {
  package static var methods: SettingForm {
    let words = ReconstructionMethod.allCases.map(\.rawValue)
    return SettingForm(
      expected: "one of \(words.joined(separator: ", ")), or several with commas", words: words,
      parse: { text in
        let names = text.split(separator: ",", omittingEmptySubsequences: false)
        let methods = names.compactMap { ReconstructionMethod(rawValue: String($0)) }
        return methods.count == names.count && Set(methods).count == names.count ? methods : nil
      }, store: { .string($0.map(\.rawValue).joined(separator: ",")) })
  }
}

extension SettingForm where Value: RawRepresentable<String> & CaseIterable & Equatable {
  /// One of the cases' names; `excluded` can't be named.
  package static func choice(but excluded: Value? = nil) -> SettingForm {
    let words = Value.allCases.filter { $0 != excluded }.map(\.rawValue)
    return SettingForm(
      expected: "one of \(words.joined(separator: ", "))", words: words,
      parse: { words.contains($0) ? Value(rawValue: $0) : nil }, store: { .string($0.rawValue) })
  }
}
