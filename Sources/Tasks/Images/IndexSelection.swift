/// Images of a source: `5,42,79`, or `start:stop:step` with the stop left out, or both mixed.
public struct IndexSelection: Hashable, Sendable, CustomStringConvertible {
  private enum Part: Hashable, Sendable {
    case one(Int)
    case stride(start: Int, stop: Int?, step: Int)
  }

  private let parts: [Part]
  public let description: String

  /// Nil where the text is none of these.
  public init?(_ text: String) {
    description = text
    var parts: [Part] = []
    for text in text.split(separator: ",", omittingEmptySubsequences: false) {
      let fields = text.split(separator: ":", omittingEmptySubsequences: false)
      if fields.count == 1 {
        guard let index = Int(fields[0]), index >= 0 else { return nil }
        parts.append(.one(index))
      } else {
        guard fields.count <= 3, let start = fields[0].isEmpty ? 0 : Int(fields[0]), start >= 0 else {
          return nil
        }
        let stop = Int(fields[1])
        guard fields[1].isEmpty || stop.map({ $0 > start }) == true else { return nil }
        let step = fields.count == 3 ? Int(fields[2]) : 1
        guard let step, step > 0 else { return nil }
        parts.append(.stride(start: start, stop: stop, step: step))
      }
    }
    self.parts = parts
  }

  /// The indices in the order given, each below `count`.
  public func indices(count: Int, source: String) throws(TaskError) -> [Int] {
    var result: [Int] = []
    for part in parts {
      switch part {
      case .one(let index): result.append(index)
      case .stride(let start, let stop, let step):
        // A stop beyond the data is an error as any index beyond it, without counting up to it.
        let end = stop ?? count
        let last = end > start ? start + (end - 1 - start) / step * step : start
        guard last < count else { throw Self.beyond(last, count: count, source: source) }
        result += stride(from: start, to: end, by: step)
      }
    }
    if let index = result.first(where: { $0 >= count }) {
      throw Self.beyond(index, count: count, source: source)
    }
    return result
  }

  private static func beyond(_ index: Int, count: Int, source: String) -> TaskError {
    TaskError(
      .data,
      "--indices: index \(index) in '\(source)', which has \(count) images, expected 0 to \(count - 1)")
  }
}
