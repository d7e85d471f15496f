import AIPOFlows
import AIPOKernels

extension FlowMapping {
  /// GlowIP: a flat list of modules, of which the file names only the flow steps. The final level has one step, the
  /// others as many as stand between two gaps.
  mutating func mapGlowIP() throws(FileError) {
    let steps = try indices(prefix: "glow_modules.")
    guard let first = steps.first, let last = steps.last else { throw missing("glow_modules.") }
    guard first == 1 else {
      throw dict.source.malformed("first of the glow_modules", "\(first)", "1, behind a squeeze")
    }
    // Level l: squeeze at l(K + 2), steps behind it, split last; the final level begins at (L − 1)(K + 2).
    let count = last - 1 == 0 ? 0 : (1...last).prefix { steps.contains($0) }.count
    let levels = last == 1 ? 1 : (last - 1) / (count + 2) + 1
    let expected =
      (0..<levels - 1).flatMap { l in (1...max(count, 1)).map { l * (count + 2) + $0 } }
      + [(levels - 1) * (count + 2) + 1]
    guard steps == expected, levels <= 16 else {
      throw dict.source.malformed(
        "glow_modules", "\(steps.count) steps up to \(last)",
        "levels of equally many steps and one step at the end")
    }
    try takeChannels(of: "glow_modules.1", squeezedIn: "glow_modules.1.actnorm.b")
    let squeeze = choice(.squeeze, as: ImportChoices.Squeezing.self)
    let range = choice(.range, as: ImportChoices.PixelRange.self)
    var c = channels
    for level in 0..<levels {
      let isLast = level == levels - 1
      let contiguous =
        switch squeeze {
        case .interleave: false
        case .contiguous: true
        case .contiguousExceptLast: !isLast
        }
      add(.squeeze(contiguous ? .contiguous : .interleaved))
      c *= 4
      for k in 1...(isLast ? 1 : count) {
        try addGlowIPStep(
          "glow_modules.\(level * (count + 2) + k).", channels: c,
          bias: isLast ? .lastBias : .couplingBias, range: level == 0 && k == 1 ? range : nil)
      }
      if !isLast {
        add(.split)
        c /= 2
      }
    }
  }

  private mutating func addGlowIPStep(
    _ prefix: String, channels c: Int, bias: ImportOption, range: ImportChoices.PixelRange?
  ) throws(FileError) {
    addActnorm(
      bias: try doubles(prefix + "actnorm.b", [1, c, 1, 1]),
      logScale: try doubles(prefix + "actnorm.logs", [1, c, 1, 1]), range: range)
    try addDense(prefix + "invconv.W", shape: [c, c, 1, 1])
    let net = prefix + "coupling.net."
    let names = NetNames(
      first: net + "conv1", middle: net + "conv2", last: net + "conv3",
      norms: [1, 2].map { (net + "actnorm\($0).b", net + "actnorm\($0).logs") }, shiftsFirst: true,
      headScale: (net + "logs", { [$0, 1, 1] }))
    let isAdditive = try isAdditive(names, channels: c, mask: .secondHalf)
    try addCoupling(
      names, channels: c, mask: .secondHalf, layout: HeadLayout(order: .scaleShiftPairs),
      transform: .affine(
        AffineTransform(.sigmoid, order: .shiftLast, bias: isAdditive ? 0 : number(bias))))
  }

  /// The numbers that stand behind a prefix in the names, sorted.
  func indices(prefix: String) throws(FileError) -> [Int] {
    var found: Set<Int> = []
    for name in dict.names where name.hasPrefix(prefix) {
      let digits = name.dropFirst(prefix.count).prefix { $0 != "." }
      guard let index = Int(digits), (0...4096).contains(index) else {
        throw dict.source.malformed("tensor \(name)", "without a number behind \(prefix)", "0 to 4096")
      }
      found.insert(index)
    }
    return found.sorted()
  }

  /// The same, which must be 0, 1, 2, … without a gap; gives how many there are.
  func run(prefix: String, atMost limit: Int) throws(FileError) -> Int {
    let found = try indices(prefix: prefix)
    guard !found.isEmpty else { throw missing(prefix) }
    guard found == Array(0..<found.count), found.count <= limit else {
      throw dict.source.malformed(
        "numbers behind \(prefix)", "\(found.prefix(8))", "0, 1, … without a gap, at most \(limit)")
    }
    return found.count
  }

  private func missing(_ prefix: String) -> FileError {
    dict.source.malformed("checkpoint", "without a tensor \(prefix)…", "one (is it of another dialect?)")
  }
}
