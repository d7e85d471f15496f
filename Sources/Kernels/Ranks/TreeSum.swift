/// A sum of numbered arrays over ranks, added along one binary tree whatever the ranks: the same bits on any number of them.
///
/// The tree halves `0..<leaves` again and again, the left half the smaller one. A rank adds its own leaves, which follow each
/// other, as far as the tree allows. Then every rank sums one part of the array: it gets that part of all ranks' sums, adds
/// them along the rest of the tree, and sends the result to all. A rank so sends and receives about twice the array.
public struct TreeSum<Scalar: KernelScalar> {
  /// Sums of the leaves so far: nodes of the tree, from left to right.
  private var sums: [(node: Range<Int>, values: [Scalar])] = []
  private var unused: [[Scalar]] = []
  private var buffers: (outgoing: [Scalar], incoming: [Scalar]) = ([], [])

  public init() {}

  /// The greatest nodes of the tree that are made of these leaves.
  static func nodes(of range: Range<Int>, leaves: Int) -> [Range<Int>] {
    var nodes: [Range<Int>] = []
    func visit(_ node: Range<Int>) {
      guard node.overlaps(range) else { return }
      if node.lowerBound >= range.lowerBound, node.upperBound <= range.upperBound {
        return nodes.append(node)
      }
      let middle = node.lowerBound + node.count / 2
      visit(node.lowerBound..<middle)
      visit(middle..<node.upperBound)
    }
    if !range.isEmpty { visit(0..<leaves) }
    return nodes
  }

  /// Room for the values of a leaf, with anything in it.
  public mutating func room(_ count: Int) -> [Scalar] {
    if let last = unused.popLast(), last.count == count { return last }
    return [Scalar](repeating: 0, count: count)
  }

  /// Takes the next leaf of this rank, whose array nobody else should hold any more: it would have to be copied.
  public mutating func add(_ values: consuming [Scalar], leaf: Int, of leaves: Int, pool: ThreadPool) {
    sums.append((leaf..<leaf + 1, values))
    while sums.count > 1 {
      let (left, right) = (sums[sums.count - 2].node, sums[sums.count - 1].node)
      let both = left.lowerBound..<right.upperBound
      guard Self.nodes(of: both, leaves: leaves) == [both], left.count == both.count / 2 else { return }
      var last = sums.removeLast().values
      sums[sums.count - 1].node = both
      sums[sums.count - 1].values.withUnsafeMutableBufferPointer { sum in
        last.withUnsafeMutableBufferPointer { last in
          let (sum, last) = (Memory(sum), Memory(last))
          // `add` throws nothing, so that the pool does not.
          try! pool.split(sum.count, minimum: 1 << 16) { part, _ in Kernel.add(last[part], to: sum[part]) }
        }
      }
      unused.append(last)
    }
  }

  /// Puts the sum of all leaves into `result`, and begins anew. Rank r has given the leaves of its `share(of: leaves)`.
  public mutating func finish(_ leaves: Int, over ranks: any Ranks, into result: inout [Scalar]) throws {
    defer {
      unused += sums.map(\.values)
      sums = []
    }
    guard ranks.count > 1 else {
      swap(&result, &sums[0].values)
      return
    }
    let count = result.count
    let parts = (0..<ranks.count).map { ranks.share(of: count, rank: $0) }
    let nodes = (0..<ranks.count).map { Self.nodes(of: ranks.share(of: leaves, rank: $0), leaves: leaves) }
    let own = parts[ranks.rank]
    precondition(sums.map(\.node) == nodes[ranks.rank], "other leaves than the rank's were added")

    // To every rank its part of all sums here, one behind the other.
    resize(&buffers.outgoing, max(sums.count * count, own.count))
    resize(&buffers.incoming, nodes.reduce(0) { $0 + $1.count } * own.count)
    var outgoing: [Range<Int>] = []
    var offset = 0
    for part in parts {
      let start = offset
      for sum in sums {
        buffers.outgoing.replaceSubrange(offset..<offset + part.count, with: sum.values[part])
        offset += part.count
      }
      outgoing.append(start..<offset)
    }
    var incoming: [Range<Int>] = []
    offset = 0
    for nodes in nodes {
      incoming.append(offset..<offset + nodes.count * own.count)
      offset = incoming.last!.upperBound
    }
    try exchange(ranks, buffers.outgoing, outgoing, &buffers.incoming, incoming)

    // The rest of the tree.
    var places: [Range<Int>: Int] = [:]
    for (nodes, range) in zip(nodes, incoming) {
      for (k, node) in nodes.enumerated() { places[node] = range.lowerBound + k * own.count }
    }
    buffers.incoming.withUnsafeMutableBufferPointer { values in
      let values = Memory(values)
      func sum(_ node: Range<Int>) -> Memory<Scalar> {
        if let place = places[node] { return values[place..<place + own.count] }
        let middle = node.lowerBound + node.count / 2
        let left = sum(node.lowerBound..<middle)
        Kernel.add(sum(middle..<node.upperBound), to: left)
        return left
      }
      let total = sum(0..<leaves)
      buffers.outgoing.withUnsafeMutableBufferPointer { Memory($0)[0..<own.count].copy(from: total) }
    }
    try exchange(
      ranks, buffers.outgoing, [Range<Int>](repeating: 0..<own.count, count: ranks.count), &result, parts)
  }

  private func resize(_ values: inout [Scalar], _ count: Int) {
    if values.count < count { values = [Scalar](repeating: 0, count: count) }
  }

  private func exchange(
    _ ranks: any Ranks, _ from: [Scalar], _ outgoing: [Range<Int>], _ to: inout [Scalar],
    _ incoming: [Range<Int>]
  ) throws {
    try from.withUnsafeBufferPointer { from in
      try to.withUnsafeMutableBufferPointer { to in
        try ranks.exchange(
          outgoing.map { UnsafeRawBufferPointer(UnsafeBufferPointer(rebasing: from[$0])) },
          incoming.map { UnsafeMutableRawBufferPointer(UnsafeMutableBufferPointer(rebasing: to[$0])) },
          patience: ranks.usualPatience)
      }
    }
  }
}
