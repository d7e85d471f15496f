import AIPOKernels

/// How wide the draws of some chains lie, coordinate by coordinate, by Welford's sums.
struct Spread {
  private let storage: Storage<Double>
  private let mean: Vector
  private let squares: Vector
  private var count = 0.0

  init(dimension d: Int) throws(TensorError) {
    storage = try Storage(count: 2 * d)
    (mean, squares) = (storage.memory[0..<d], storage.memory[d..<2 * d])
    storage.memory.fill(0)
  }

  mutating func add(_ point: Vector) {
    count += 1
    for i in 0..<mean.count {
      let difference = point[i] - mean[i]
      mean[i] += difference / count
      squares[i] += difference * (point[i] - mean[i])
    }
  }

  /// The greatest deviation, in units of the one that the mass supposes: 1 for a Gaussian whose precision the mass is.
  func greatest(in mass: Mass) -> Double {
    (0..<mean.count).reduce(0) { max($0, squares[$1] / count / mass.supposedVariance(of: $1)) }.squareRoot()
  }
}
