import AIPOPlatform

/// What a stream of random numbers is for. Streams of different purposes never overlap.
public enum RandomPurpose: UInt32, Sendable {
  case noise = 1
  case operatorEntries, mask, start, sample, dequantization, shuffle, augmentation, weights, test
  case restart, study, evaluation, probe, curvature, patch, fixedPatch, smoothing, evaluationSmoothing
  case chains, chainStart, momentum, pathLength, proposal, acceptance, resampling
}

/// Philox4x32-10, a counter-based generator: the numbers are a function of
/// (seed, index, purpose) alone, so results don't depend on order, batch or threads.
///
/// `index` is the position of the image in its source (or the training step, or 0).
///
/// Source: J. K. Salmon et al., *Parallel random numbers: as easy as 1, 2, 3*, SC 2011.
public struct Philox: RandomNumberGenerator, Sendable {
  private let key: SIMD2<UInt32>
  private var counter: SIMD4<UInt32>
  private var block = SIMD4<UInt32>()
  private var used = 4
  private var spareNormal: Double?

  public init(seed: UInt64, index: UInt64 = 0, purpose: RandomPurpose) {
    key = SIMD2(UInt32(truncatingIfNeeded: seed), UInt32(truncatingIfNeeded: seed >> 32))
    counter = SIMD4(
      0, purpose.rawValue, UInt32(truncatingIfNeeded: index), UInt32(truncatingIfNeeded: index >> 32))
  }

  static func rounds(_ counter: SIMD4<UInt32>, key start: SIMD2<UInt32>) -> SIMD4<UInt32> {
    var c = counter
    var key = start
    for round in 0..<10 {
      if round > 0 { key = key &+ SIMD2(0x9E37_79B9, 0xBB67_AE85) }
      let p0 = UInt64(0xD251_1F53) * UInt64(c[0])
      let p1 = UInt64(0xCD9E_8D57) * UInt64(c[2])
      c = SIMD4(
        UInt32(truncatingIfNeeded: p1 >> 32) ^ c[1] ^ key[0], UInt32(truncatingIfNeeded: p1),
        UInt32(truncatingIfNeeded: p0 >> 32) ^ c[3] ^ key[1], UInt32(truncatingIfNeeded: p0))
    }
    return c
  }

  mutating func next32() -> UInt32 {
    if used == 4 {
      block = Self.rounds(counter, key: key)
      counter[0] &+= 1
      precondition(counter[0] != 0, "a random stream holds 2³⁴ numbers")
      used = 0
    }
    defer { used += 1 }
    return block[used]
  }

  public mutating func next() -> UInt64 {
    let low = UInt64(next32())
    return low | UInt64(next32()) << 32
  }

  /// Leaves out so many numbers of `next`.
  public mutating func skip(_ numbers: Int) {
    var left = 2 * numbers
    while left > 0, used < 4 {
      used += 1
      left -= 1
    }
    precondition(left / 4 <= Int(UInt32.max - counter[0]), "a random stream holds 2³⁴ numbers")
    counter[0] += UInt32(left / 4)
    for _ in 0..<left % 4 { _ = next32() }
  }

  /// Uniform on [0, 1), 53 bits.
  public mutating func uniform() -> Double { Double(next() >> 11) * 0x1p-53 }

  /// Standard normal by Box–Muller; two draws use one pair of uniforms.
  public mutating func normal() -> Double {
    if let spare = spareNormal {
      spareNormal = nil
      return spare
    }
    let radius = (-2 * log(1 - uniform())).squareRoot()
    let angle = 2 * Double.pi * uniform()
    spareNormal = radius * sin(angle)
    return radius * cos(angle)
  }
}
