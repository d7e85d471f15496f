import AIPOKernels
import AIPOTestCases
import Testing

@Suite struct EigenvectorTests {
  /// Of an indefinite matrix whose lowest eigenvalue is the one of the greatest magnitude.
  @Test(arguments: [1, 2, 3, 30]) func leadingEigenvector(order d: Int) throws {
    let vectors = try randomCovariance(d, seed: 4).symmetricEigen().vectors
    // Eigenvalues 1, 0 and below, to −10.
    let matrix = try Matrix(rows: d, columns: d) { i, j in
      (0..<d).reduce(0) {
        $0 + ($1 == 0 ? 1 : -10 * Double($1 - 1) / Double(d)) * vectors[i, $1] * vectors[j, $1]
      }
    }
    var x = try Tensor(randomVector(d, seed: 5))
    try x.withMemory { x in
      try Lanczos.leadingEigenvector(into: x, steps: 8, restarts: 30, Scratch()) {
        matrix.multiplySymmetric($0, into: $1)
      }
    }
    let cosine = (0..<d).reduce(0.0) { $0 + x[flat: $1] * vectors[$1, 0] }
    #expect((cosine.magnitude - 1).magnitude < 1e-9, "\(cosine)")
  }
}
