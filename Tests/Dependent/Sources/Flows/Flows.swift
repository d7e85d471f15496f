import AIPO
import Kernels

/// A batch of `n` random images with pixels around ½.
public func randomImages(_ n: Int, shape: ImageShape, seed: UInt64) throws -> Tensor<Double> {
  try Tensor(
    shape: [n, shape.height, shape.width, shape.channels],
    elements: normals(n * shape.count, seed: seed).map { 0.5 + 0.1 * $0 })
}
