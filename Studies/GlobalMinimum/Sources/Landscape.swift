import AIPO
import Foundation

/// A grid over the box in which a global minimum is looked for, with both priors on it.
struct Landscape {
  /// The box, in every coordinate.
  static let box = -0.3...1.3

  let dimension: Int
  /// Points along an axis.
  let side: Int
  let axis: [Double]
  /// −log p of the flow and of the Gaussian, nats, the last coordinate running fastest; ∞ where not finite.
  let flow: [Float]
  let gaussian: [Float]

  var count: Int { flow.count }

  init(_ prior: TrainedPrior, dimension d: Int, side: Int) throws {
    dimension = d
    self.side = side
    let step = (Self.box.upperBound - Self.box.lowerBound) / Double(side - 1)
    let axis = (0..<side).map { Self.box.lowerBound + Double($0) * step }
    self.axis = axis
    let count = (0..<d).reduce(1) { product, _ in product * side }
    var flow: [Float] = []
    var gaussian: [Float] = []
    flow.reserveCapacity(count)
    gaussian.reserveCapacity(count)
    let batch = 4096
    let scratch = Scratch()
    for start in stride(from: 0, to: count, by: batch) {
      let points = (start..<min(start + batch, count)).map { Self.point($0, axis, d) }
      let x = try Tensor<Double>(shape: [points.count, 1, 1, d], elements: Array(points.joined()))
      flow += try prior.flow.evaluate(x).map { $0.isFinite ? Float(-$0) : .infinity }
      gaussian += try points.map {
        try Float(prior.gaussian.evaluate($0, scratch).value)
      }
    }
    self.flow = flow
    self.gaussian = gaussian
  }

  private static func point(_ index: Int, _ axis: [Double], _ d: Int) -> [Double] {
    var rest = index
    var x = [Double](repeating: 0, count: d)
    for k in (0..<d).reversed() {
      x[k] = axis[rest % axis.count]
      rest /= axis.count
    }
    return x
  }

  func point(_ index: Int) -> [Double] { Self.point(index, axis, dimension) }

  /// L_recon on the grid, nats, all constants included.
  func recon(_ measurement: Measurement, _ y: [Double], sigma: Double) -> [Float] {
    let constant = Double(y.count) * (log(sigma) + 0.5 * log(2 * Double.pi))
    let weight = Float(1 / (2 * sigma * sigma))
    var result = [Float](repeating: Float(constant), count: count)
    let lines = count / side
    let last = axis.map { Float($0) }
    result.withUnsafeMutableBufferPointer { result in
      last.withUnsafeBufferPointer { last in
        for (row, target) in zip(measurement.rows, y) {
          let slope = Float(row[dimension - 1])
          let wanted = Float(target)
          let shift = measurement.isSquared ? -0.5 * row.reduce(0, +) : 0
          for line in 0..<lines {
            var base = shift
            var rest = line
            for k in (0..<dimension - 1).reversed() {
              base += row[k] * axis[rest % side]
              rest /= side
            }
            add(
              to: result.baseAddress! + line * side, last.baseAddress!, side, base: Float(base), slope: slope,
              wanted: wanted, weight: weight, squared: measurement.isSquared)
          }
        }
      }
    }
    return result
  }

  @inline(__always)
  private func add(
    to out: UnsafeMutablePointer<Float>, _ last: UnsafePointer<Float>, _ n: Int, base: Float, slope: Float,
    wanted: Float, weight: Float, squared: Bool
  ) {
    if squared {
      for k in 0..<n {
        let u = base + slope * last[k]
        let r = wanted - u * u
        out[k] += weight * r * r
      }
    } else {
      for k in 0..<n {
        let r = wanted - base - slope * last[k]
        out[k] += weight * r * r
      }
    }
  }

  /// `L_recon + λ((1 − t) R_gauss + t R_flow)` on the grid.
  func objective(_ recon: [Float], _ weights: ObjectiveWeights) -> [Float] {
    let (a, b) = (Float(weights.flow), Float(weights.gaussian))
    return [Float](unsafeUninitializedCapacity: count) { out, initialized in
      recon.withUnsafeBufferPointer { recon in
        flow.withUnsafeBufferPointer { flow in
          gaussian.withUnsafeBufferPointer { gaussian in
            for i in 0..<recon.count {
              // 0·∞ isn't a number, where the flow isn't finite and has no weight.
              out[i] = recon[i] + (a == 0 ? 0 : a * flow[i]) + b * gaussian[i]
            }
          }
        }
      }
      initialized = count
    }
  }

  /// The lowest point of values on the grid.
  func lowest(_ values: [Float]) -> Int {
    var best = 0
    values.withUnsafeBufferPointer { values in
      for i in values.indices where values[i] < values[best] { best = i }
    }
    return best
  }

  /// Points within `depth` nats of the lowest that lie below all their neighbours, diagonal ones too (or a ridge across
  /// the grid would be a row of minima), the lowest first.
  func minima(_ values: [Float], depth: Float, limit: Int) -> [Int] {
    let bound = values[lowest(values)] + depth
    var found: [Int] = []
    values.withUnsafeBufferPointer { values in
      for i in values.indices where values[i] <= bound {
        if isLowest(i, among: values, axis: 0, at: i, stride: 1) { found.append(i) }
      }
    }
    found.sort { values[$0] < values[$1] }
    return Array(found.prefix(limit))
  }

  /// Whether no neighbour of point i lies below it, of those that differ from `place` along the axes from `axis` on.
  private func isLowest(
    _ i: Int, among values: UnsafeBufferPointer<Float>, axis: Int, at place: Int, stride: Int
  ) -> Bool {
    guard axis < dimension else { return values[i] <= values[place] }
    let coordinate = i / stride % side
    for step in [0, -1, 1] where (0..<side).contains(coordinate + step) {
      if !isLowest(i, among: values, axis: axis + 1, at: place + step * stride, stride: stride * side) {
        return false
      }
    }
    return true
  }
}
