import AIPOKernels

extension Flow {
  /// Which images don't come back from their latents: `max |G(ε) − x|` beyond 1/256 of the largest |x|, or of 1, or
  /// G(ε) not finite.
  ///
  /// The inverse is exact but for rounding. Far from all data a coupling may scale by e⁻²⁰, say, and then its inverse
  /// makes as much more of the rounding. Double precision gets further.
  public func rowsThatDontComeBack(images: Tensor<Scalar>, latents: Tensor<Scalar>) throws -> [Int] {
    let back = try decode(latents).images
    let size = images.rowLength
    return images.withUnsafeBufferPointer { x in
      back.withUnsafeBufferPointer { y in
        (0..<images.shape[0]).filter { i in
          let row = i * size..<(i + 1) * size
          let limit = row.reduce(Scalar(1)) { max($0, x[$1].magnitude) } / 256
          return !row.allSatisfy { (y[$0] - x[$0]).magnitude <= limit }
        }
      }
    }
  }
}
