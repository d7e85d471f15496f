import AIPOKernels
import AIPOProblems
import AIPOTasks

/// What `aipo bench operator` has measured: products with an operator, seconds a repetition.
package struct OperatorFigures {
  private let input: ImageShape
  private let output: ImageShape
  private let threads: Int
  private let repeats: Int
  private var apply: [Double] = []
  private var adjoint: [Double] = []
  private var normal: [Double] = []

  private var rows: [(name: String, seconds: [Double])] {
    [("apply", apply), ("adjoint", adjoint), ("normal", normal)].filter { !$0.1.isEmpty }
  }

  /// For people.
  package var text: String {
    (["\(input) to \(output), \(threads) threads"]
      + rows.map {
        "\($0.name): \(fixed(medianMilliseconds($0.seconds), 2)) ms, fastest \(fixed(1000 * $0.seconds.min()!, 2)) ms"
      }).joined(separator: "\n")
  }

  package var json: JSONValue {
    .object(
      rows.flatMap {
        [
          ("\($0.name)_ms", JSONValue.number(medianMilliseconds($0.seconds))),
          ("\($0.name)_fastest_ms", .number(1000 * $0.seconds.min()!)),
        ]
      }
        + [
          ("input", input.json), ("output", output.json), ("threads", .int(threads)),
          ("repeat", .int(repeats)),
        ])
  }

  /// Measures products at random vectors, after one of each that warms the caches, until `isCancelled`. Of a map that isn't linear
  /// `apply` and `pullback`.
  package static func measure(
    _ map: any Map, repeats: Int, threads: Int, seed: UInt64, isCancelled: () -> Bool
  ) throws -> OperatorFigures {
    let scratch = Scratch(pool: ThreadPool(threads: threads))
    var random = Philox(seed: seed, purpose: .test)
    var (x, y) = (try Tensor<Double>(count: map.input.count), try Tensor<Double>(count: map.output.count))
    x.withMemory { $0.setNormals(&random) }
    y.withMemory { $0.setNormals(&random) }
    var (image, back) = (y, x)
    var figures = OperatorFigures(input: map.input, output: map.output, threads: threads, repeats: repeats)
    let clock = ContinuousClock()
    func seconds(_ body: () throws -> Void) rethrows -> Double {
      let time = try clock.measure(body)
      return Double(time.components.seconds) + 1e-18 * Double(time.components.attoseconds)
    }
    for turn in -1..<repeats where !isCancelled() {
      let forward = try seconds { try image.withMemory { try map.apply(x.view, into: $0, scratch) } }
      let backward = try seconds {
        try back.withMemory { try map.pullback(y.view, at: x.view, into: $0, scratch) }
      }
      let both = try (map as? any LinearMap).map { map in
        try seconds { try back.withMemory { try map.applyNormal(x.view, into: $0, scratch) } }
      }
      guard turn >= 0 else { continue }
      figures.apply.append(forward)
      figures.adjoint.append(backward)
      if let both { figures.normal.append(both) }
    }
    return figures
  }
}
