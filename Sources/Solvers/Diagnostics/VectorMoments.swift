import AIPOKernels

/// Mean and sum of squares of vectors, coordinate by coordinate, one after another (B. P. Welford, Technometrics 4, 1962).
public struct VectorMoments: Sendable, Equatable {
  public internal(set) var count = 0.0
  public internal(set) var mean: Tensor<Double>
  /// `Σ (x − mean)²`
  public internal(set) var squares: Tensor<Double>

  init(dimension d: Int) throws(TensorError) {
    (mean, squares) = (try Tensor(count: d), try Tensor(count: d))
  }

  mutating func add(_ x: Vector) {
    count += 1
    mean.withMemory { mean in
      squares.withMemory { squares in
        for i in 0..<x.count {
          let difference = x[i] - mean[i]
          mean[i] += difference / count
          squares[i] += difference * (x[i] - mean[i])
        }
      }
    }
  }

  /// The greatest deviation, in units of the one that a mass supposes: 1 for a Gaussian whose precision the mass is.
  func greatestDeviation(in mass: Mass) -> Double {
    (0..<mean.count).reduce(0) { max($0, squares[flat: $1] / count / mass.supposedVariance(of: $1)) }
      .squareRoot()
  }
}
