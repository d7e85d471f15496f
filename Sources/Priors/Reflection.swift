/// An image that is continued beyond its edges by its own reflection, the edge repeated: … 1 0 | 0 1 … n − 1 | n − 1 …
enum Reflection {
  /// Which of n places stands at place i, which may lie anywhere.
  static func source(_ i: Int, _ n: Int) -> Int {
    let rest = i % (2 * n)
    let place = rest < 0 ? rest + 2 * n : rest
    return place < n ? place : 2 * n - 1 - place
  }
}
