import AIPOFlows
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

  /// Of an image on [0, 1]; values beyond count to the first or last bin. Its draws are keyed by the seed and its index,
  /// and the first is the one that `Evaluation` takes. Over ranks each has a strip of the image.
  ///
  /// The figure is not finite where the density of a draw isn't. Throws what the density throws.
  public static func measure(
    _ prior: any Prior, _ image: Vector, index: Int, dequantization: Dequantization, draws: Int = usualDraws,
    seed: UInt64, _ scratch: Scratch
  ) throws -> ExpectedBits {
    precondition(!dequantization.isNone, "real-valued data have no bins")
    precondition(draws > 0 && image.count == prior.count)
    let pixels = (0..<image.count).map { image[$0].isNaN ? 0 : UInt8(max(0, min(255, image[$0] * 256))) }
    var noise = Philox(seed: seed, index: UInt64(index), purpose: .evaluation)
    // Two values take one number.
    let (start, whole) = scratch.pool.strips?.place(of: image.count) ?? (0, image.count)
    precondition(start % 2 == 0 || image.count == 0)
    let samples = try scratch.scope {
      let x = try scratch.take(image.count)
      return try (0..<draws).map { _ in
        noise.skip(start / 2)
        x.withUnsafeMutableBufferPointer { x in
          pixels.withUnsafeBufferPointer { dequantization.fill(x, from: $0, noise: &noise) }
        }
        noise.skip((whole + 1) / 2 - (start + image.count + 1) / 2)
        let logProb = -(try prior.evaluate(x, gradient: nil, scratch))
        return dequantization.bitsPerDim(logProb: logProb, dimensions: whole)
      }
    }
    guard let mean = Estimate(samples) else { preconditionFailure("there is a draw") }
    return ExpectedBits(bitsPerDim: mean.mean, standardError: mean.standardError)
  }
}
