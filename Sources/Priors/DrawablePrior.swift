import AIPOKernels

/// A prior that exact draws can be had of.
public protocol DrawablePrior: Prior {
  /// `x ←` a draw.
  func draw(into x: Vector, _ random: inout Philox, _ scratch: Scratch) throws
}

extension LatentPrior {
  /// `latents ←` a draw of the base density.
  public func drawLatents(_ latents: Vector, _ random: inout Philox) {
    if hasUniformBase {
      for i in 0..<latents.count { latents[i] = random.uniform() }
    } else {
      latents.setNormals(&random)
    }
  }

  public func draw(into x: Vector, _ random: inout Philox, _ scratch: Scratch) throws {
    try scratch.scope {
      let latents = try scratch.take(count)
      drawLatents(latents, &random)
      _ = try decode(latents, into: x, scratch)
    }
  }
}

extension GaussianPrior: DrawablePrior {
  public func draw(into x: Vector, _ random: inout Philox, _ scratch: Scratch) throws {
    x.setNormals(&random)
    try covariance.multiplyRoot(x, scratch)
    x.add(mean.view, scratch.pool)
  }
}
