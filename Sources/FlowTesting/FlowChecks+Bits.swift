import AIPOFlows
import AIPOKernels

extension FlowChecks {
  /// How many results differ in any bit on 1, 2 and 5 threads, and between an image alone and in a batch.
  public func measureBits() throws -> [CheckResult] {
    let one = try flow()
    let count = 7
    let x = try images(count, of: one)
    let e = try latents(count, of: one)
    let whole = try results(of: one, x: x, latents: e)
    var threads = 0
    for team in [2, 5] {
      let other = try flow(threads: team)
      threads += differing(whole, try results(of: other, x: x, latents: e))
      // Fewer images than threads are shared out in another way.
      let few = Array(0..<team / 2)
      threads += differing(
        try results(of: one, x: try x.rows(few), latents: try e.rows(few)),
        try results(of: other, x: try x.rows(few), latents: try e.rows(few)))
    }
    var batch = 0
    for i in 0..<count {
      let alone = try results(of: one, x: try x.rows([i]), latents: try e.rows([i]), from: i)
      for (name, rows) in alone.perImage where !same(rows[0].values, whole.perImage[name]![i].values) {
        batch += 1
      }
    }
    return [
      CheckResult(
        property: "results that differ on 1, 2 and 5 threads", measured: Double(threads), bound: .atMost(0)),
      CheckResult(
        property: "results that differ alone and in a batch", measured: Double(batch), bound: .atMost(0)),
    ]
  }

  private struct Results {
    /// What belongs to one image.
    struct Row { let values: [Double] }

    /// By name, a row an image.
    var perImage: [String: [Row]] = [:]
    /// What belongs to the batch.
    var ofBatch: [String: [Double]] = [:]
  }

  private func results(
    of flow: Flow<Scalar>, x: Tensor<Scalar>, latents e: Tensor<Scalar>, from first: Int = 0
  ) throws -> Results {
    let flow = try density(flow, x.shape[0], from: first)
    var results = Results()
    func keep(_ name: String, _ tensor: Tensor<Scalar>) {
      let values = tensor.elements.map { Double($0) }
      let size = tensor.rowLength
      results.perImage[name] = (0..<tensor.shape[0]).map {
        Results.Row(values: Array(values[$0 * size..<($0 + 1) * size]))
      }
    }
    func keep(_ name: String, _ values: [Double]) {
      results.perImage[name] = values.map { Results.Row(values: [$0]) }
    }

    let count = x.shape[0]
    let ones = [Double](repeating: 1, count: count)
    let (latents, logDet) = try flow.encode(x)
    keep("encode", latents)
    keep("log-determinant of encode", logDet)
    let (decoded, decodedLogDet) = try flow.decode(e)
    keep("decode", decoded)
    keep("log-determinant of decode", decodedLogDet)
    let (logProb, gradient) = try flow.evaluateWithGradient(x)
    keep("log p", logProb)
    keep("gradient", gradient)
    keep("evaluate", try flow.evaluate(x))
    keep("ε-gradient", try flow.decodeGradient(at: decoded, imageCotangent: x, logDetCotangent: ones))
    keep("encode's gradient", try flow.encodeGradient(at: x, latentCotangent: e, logDetCotangent: ones))
    var parameterGradient: [Scalar] = []
    keep("likelihood", try flow.trainingGradient(x, gradient: &parameterGradient))
    results.ofBatch["parameter gradient"] = parameterGradient.map { Double($0) }
    results.ofBatch["decode's parameter gradient"] = try flow.decodeParameterGradient(
      at: decoded, imageCotangent: x, logDetCotangent: ones
    ).map { Double($0) }
    return results
  }

  private func differing(_ a: Results, _ b: Results) -> Int {
    var count = 0
    for (name, rows) in a.perImage {
      for (row, other) in zip(rows, b.perImage[name]!) where !same(row.values, other.values) { count += 1 }
    }
    for (name, values) in a.ofBatch where !same(values, b.ofBatch[name]!) { count += 1 }
    return count
  }

  private func same(_ a: [Double], _ b: [Double]) -> Bool { a.map(\.bitPattern) == b.map(\.bitPattern) }
}
