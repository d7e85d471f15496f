import AIPOFlows
import AIPOKernels

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// A smooth prior in closed form, to test solvers with: `x = μ + L u`, `u_i = ε_i + a sin ε_i`, ε standard
/// normal, |a| < 1, L lower triangular with a positive diagonal. a = 0 is the Gaussian N(μ, L Lᵀ).
public struct WarpedGaussian<Scalar: KernelScalar>: LatentPrior {
  public let imageShape: ImageShape
  public let mean: [Double]
  /// L, row-major d × d.
  public let factor: [Double]
  public let warp: Double

  public init(imageShape: ImageShape, mean: [Double], factor: [Double], warp: Double) {
    let d = imageShape.count
    precondition(mean.count == d && factor.count == d * d && warp.magnitude < 1)
    self.imageShape = imageShape
    self.mean = mean
    self.factor = factor
    self.warp = warp
  }

  /// Random μ in [0, 1], L with a diagonal in [0.1, 0.3] and small entries below it.
  public static func random(imageShape: ImageShape, warp: Double, seed: UInt64) -> WarpedGaussian {
    var random = Philox(seed: seed, purpose: .test)
    let d = imageShape.count
    let mean = (0..<d).map { _ in random.uniform() }
    var factor = [Double](repeating: 0, count: d * d)
    for i in 0..<d {
      for j in 0..<i { factor[i * d + j] = 0.1 * random.normal() / Double(d).squareRoot() }
      factor[i * d + i] = 0.1 + 0.2 * random.uniform()
    }
    return WarpedGaussian(imageShape: imageShape, mean: mean, factor: factor, warp: warp)
  }

  private var d: Int { imageShape.count }
  private var scaleLogDet: Double { (0..<d).reduce(0.0) { $0 + log(factor[$1 * d + $1]) } }

  private func latents(_ x: ArraySlice<Double>) -> [Double] {
    var u = [Double](repeating: 0, count: d)
    for i in 0..<d {
      var sum = x[x.startIndex + i] - mean[i]
      for j in 0..<i { sum -= factor[i * d + j] * u[j] }
      u[i] = sum / factor[i * d + i]
    }
    return u.map { u in
      var low = u - warp.magnitude
      var high = u + warp.magnitude
      var e = u
      guard u.isFinite else { return u }
      for _ in 0..<100 {
        let miss = e + warp * sin(e) - u
        if miss == 0 { break }
        if miss > 0 { high = e } else { low = e }
        let next = e - miss / (1 + warp * cos(e))
        let safe = next > low && next < high ? next : 0.5 * (low + high)
        if safe == e { break }
        e = safe
      }
      return e
    }
  }

  private func warpLogDet(_ e: [Double]) -> Double {
    e.reduce(0.0) { $0 + log(1 + warp * cos($1)) } + scaleLogDet
  }

  /// `L⁻ᵀ v`.
  private func backSolve(_ v: [Double]) -> [Double] {
    var w = v
    for i in stride(from: d - 1, through: 0, by: -1) {
      for j in (i + 1)..<max(d, i + 1) { w[i] -= factor[j * d + i] * w[j] }
      w[i] /= factor[i * d + i]
    }
    return w
  }

  private func rows(_ x: Tensor<Scalar>) -> [ArraySlice<Double>] {
    let values = x.elements.map { Double($0) }
    return (0..<(values.count / d)).map { values[($0 * d)..<(($0 + 1) * d)] }
  }

  private func tensor(_ rows: [[Double]], shape: [Int]) throws -> Tensor<Scalar> {
    try Tensor(shape: shape, elements: rows.joined().map { Scalar($0) })
  }

  private func normalLogProb(_ e: [Double]) -> Double {
    -0.5 * (e.reduce(0.0) { $0 + $1 * $1 } + Double(d) * log(2 * Double.pi))
  }

  public func evaluate(_ x: Tensor<Scalar>) throws -> [Double] { try evaluateWithGradient(x).logProb }

  public func evaluateWithGradient(_ x: Tensor<Scalar>) throws
    -> (logProb: [Double], gradient: Tensor<Scalar>)
  {
    var logProb: [Double] = []
    var gradients: [[Double]] = []
    for row in rows(x) {
      let e = latents(row)
      logProb.append(normalLogProb(e) - warpLogDet(e))
      gradients.append(
        backSolve(
          e.map { e in
            let slope = 1 + warp * cos(e)
            return (-e + warp * sin(e) / slope) / slope
          }))
    }
    return (logProb, try tensor(gradients, shape: x.shape))
  }

  public func encode(_ x: Tensor<Scalar>) throws -> (latents: Tensor<Scalar>, logDet: [Double]) {
    let found = rows(x).map { latents($0) }
    return (try tensor(found, shape: [found.count, d]), found.map { -warpLogDet($0) })
  }

  public func decode(_ latents: Tensor<Scalar>) throws -> (images: Tensor<Scalar>, logDet: [Double]) {
    let all = rows(latents).map { Array($0) }
    let images = all.map { e in
      let u = e.map { $0 + warp * sin($0) }
      return (0..<d).map { i in
        (0...i).reduce(mean[i]) { $0 + factor[i * d + $1] * u[$1] }
      }
    }
    let shape = [all.count, imageShape.height, imageShape.width, imageShape.channels]
    return (try tensor(images, shape: shape), all.map { warpLogDet($0) })
  }

  public func decodeGradient(
    at images: Tensor<Scalar>, imageCotangent: Tensor<Scalar>, logDetCotangent: [Double]
  ) throws -> Tensor<Scalar> {
    let cotangents = rows(imageCotangent)
    let result = rows(images).enumerated().map { k, row in
      let e = latents(row)
      let bar = cotangents[k]
      return (0..<d).map { j in
        let slope = 1 + warp * cos(e[j])
        let pulled = (j..<d).reduce(0.0) { $0 + factor[$1 * d + j] * bar[bar.startIndex + $1] }
        return pulled * slope - logDetCotangent[k] * warp * sin(e[j]) / slope
      }
    }
    return try tensor(result, shape: [result.count, d])
  }

  public func encodeGradient(
    at images: Tensor<Scalar>, latentCotangent: Tensor<Scalar>, logDetCotangent: [Double]
  ) throws -> Tensor<Scalar> {
    let cotangents = rows(latentCotangent)
    let result = rows(images).enumerated().map { k, row in
      let bar = cotangents[k]
      return backSolve(
        latents(row).enumerated().map { j, e in
          let slope = 1 + warp * cos(e)
          return (bar[bar.startIndex + j] + logDetCotangent[k] * warp * sin(e) / slope) / slope
        })
    }
    return try tensor(result, shape: images.shape)
  }

  public func baseLogProbWithGradient(_ latents: Tensor<Scalar>) throws
    -> (logProb: [Double], gradient: Tensor<Scalar>)
  {
    let all = rows(latents).map { Array($0) }
    return (all.map { normalLogProb($0) }, try tensor(all.map { $0.map { -$0 } }, shape: latents.shape))
  }
}
