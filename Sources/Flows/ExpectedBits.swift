import AIPOKernels

/// Bits/dim of an image: the expectation of `−log₂ p(x)/d + b` for x uniform in the bins of its pixels, estimated by a
/// few draws.
///
/// It is what `Evaluation` averages over images, and a bound on the code length of the b-bit image. It depends on the
/// bins alone, so that an image has the same figure from 8-bit pixels, from floats, and once dequantised. The density
/// at one point of the bin says something else: at the middle a good flow is surer, since images are smooth.
///
/// Source: L. Theis, A. van den Oord, M. Bethge, *A note on the evaluation of generative models*, ICLR 2016, §3.1.
public struct ExpectedBits: Sendable, Hashable {
  /// The mean over the draws.
  public let bitsPerDim: Double
  /// The standard error of that mean; nil of one draw.
  public let standardError: Double?

  /// Draws that leave an error far below what images differ by, about 0.007 bits/dim for the shipped priors.
  public static let usualDraws = 8

  /// Of a batch of images `[n, h, w, c]` on [0, 1]; values beyond count to the first or last bin. Draws of an image are
  /// keyed by the seed and its index, and the first is the one that `Evaluation` takes.
  ///
  /// A figure is not finite where the density of a draw isn't. Throws what the density throws.
  public static func measure<Scalar: KernelScalar>(
    _ density: any ImagePrior<Scalar>, _ images: Tensor<Scalar>, indices: [Int],
    dequantization: Dequantization, draws: Int = usualDraws, seed: UInt64
  ) throws -> [ExpectedBits] {
    precondition(!dequantization.isNone, "real-valued data have no bins")
    precondition(draws > 0 && indices.count == images.shape[0])
    let pixels = dequantization.pixels(of: images)
    let d = images.rowLength
    var noise = indices.map { Philox(seed: seed, index: UInt64($0), purpose: .evaluation) }
    var samples = [[Double]](repeating: [], count: indices.count)
    var x = try Tensor<Scalar>(shape: images.shape)
    for _ in 0..<draws {
      x.withUnsafeMutableBufferPointer { x in
        pixels.withUnsafeBufferPointer { pixels in
          for i in indices.indices {
            let row = i * d..<(i + 1) * d
            dequantization.fill(
              UnsafeMutableBufferPointer(rebasing: x[row]), from: UnsafeBufferPointer(rebasing: pixels[row]),
              noise: &noise[i])
          }
        }
      }
      for (i, logProb) in try density.evaluate(x).enumerated() {
        samples[i].append(dequantization.bitsPerDim(logProb: logProb, dimensions: d))
      }
    }
    return samples.map { samples in
      guard let mean = Estimate(samples) else { preconditionFailure("there is a draw") }
      return ExpectedBits(bitsPerDim: mean.mean, standardError: mean.standardError)
    }
  }
}
