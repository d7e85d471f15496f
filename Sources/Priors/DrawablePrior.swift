import AIPOKernels

/// A prior that exact draws can be had of.
public protocol DrawablePrior: Prior {
  /// `x ←` a draw.
  func draw(into x: Vector, _ random: inout Philox, _ scratch: Scratch) throws
}

extension LatentPrior {
  /// `latents ←` a draw of the base density, and `x ←` its image; drawn anew where the flow's arithmetic doesn't hold it, as
  /// the density isn't known there. Throws after a hundred such.
  public func draw(
    latents: Vector, into x: Vector, _ random: inout Philox, _ scratch: Scratch
  ) throws {
    for _ in 0..<100 {
      drawLatents(latents, &random)
      round(latents, scratch)
      if try decode(latents, into: x, scratch).isFinite, x.isFinite() { return }
    }
    throw ProblemError.nonFinite(what: "draw of the prior", image: 0, position: 0, value: .nan)
  }

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
      try draw(latents: latents, into: x, &random, scratch)
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
