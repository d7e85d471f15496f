import AIPOKernels

/// What everything random of one draw of one chain is keyed by, so that draws are the same bits in any order, on any number of
/// threads, and after any stop.
public struct DrawKey: Sendable, Hashable {
  /// The seed of the image's chains.
  let imageSeed: UInt64
  private let chain: UInt32
  private let draw: UInt32

  /// - Parameters:
  ///   - seed: of the run.
  ///   - image: the image's index in its source.
  ///   - chain: which chain or particle.
  ///   - draw: how many draws before it, those of the warm-up counted.
  public init(seed: UInt64, image: UInt64, chain: Int, draw: Int) {
    var random = Philox(seed: seed, index: image, purpose: .chains)
    self.init(imageSeed: random.next(), chain: chain, draw: draw)
  }

  private init(imageSeed: UInt64, chain: Int, draw: Int) {
    self.imageSeed = imageSeed
    self.chain = UInt32(truncatingIfNeeded: chain)
    self.draw = UInt32(truncatingIfNeeded: draw)
  }

  /// Another draw of this chain.
  public func at(draw: Int) -> DrawKey { DrawKey(imageSeed: imageSeed, chain: Int(chain), draw: draw) }

  /// The same draw of another chain.
  public func of(chain: Int) -> DrawKey { DrawKey(imageSeed: imageSeed, chain: chain, draw: Int(draw)) }

  /// Its numbers for a purpose.
  public func random(_ purpose: RandomPurpose) -> Philox {
    Philox(seed: imageSeed, index: UInt64(chain) << 32 | UInt64(draw), purpose: purpose)
  }
}
