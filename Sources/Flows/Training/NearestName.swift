/// The known name that somebody most likely meant by a misspelt one.
enum NearestName {
  /// The one with the fewest letters inserted, left out, replaced or swapped, if these are no more than a third of the
  /// name's and there is no doubt; nil otherwise. Case and the difference of `_` and `-` don't count.
  static func of(_ name: String, in known: some Sequence<String>) -> String? {
    let word = plain(name)
    let ranked = known.map { (name: $0, distance: distance(word, plain($0))) }
      .sorted { ($0.distance, $0.name) < ($1.distance, $1.name) }
    guard let best = ranked.first, best.distance <= max(1, word.count / 3), best.distance < word.count else {
      return nil
    }
    return best.name
  }

  private static func plain(_ name: String) -> [UInt8] {
    name.lowercased().utf8.prefix(64).map { $0 == UInt8(ascii: "_") ? UInt8(ascii: "-") : $0 }
  }

  /// Source: the restricted edit distance of F. J. Damerau, *A technique for computer detection and correction of
  /// spelling errors*, CACM 1964.
  private static func distance(_ a: [UInt8], _ b: [UInt8]) -> Int {
    var rows = [Array(0...b.count)]
    for i in a.indices {
      var row = [i + 1]
      for j in b.indices {
        var least = min(rows[i][j + 1] + 1, row[j] + 1, rows[i][j] + (a[i] == b[j] ? 0 : 1))
        if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] { least = min(least, rows[i - 1][j - 1] + 1) }
        row.append(least)
      }
      rows.append(row)
    }
    return rows[a.count][b.count]
  }
}
