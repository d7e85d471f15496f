import AIPO

/// `n` numbers of the library's random stream.
public func normals(_ n: Int, seed: UInt64) -> [Double] {
  var random = Philox(seed: seed, purpose: .test)
  return (0..<n).map { _ in random.normal() }
}
