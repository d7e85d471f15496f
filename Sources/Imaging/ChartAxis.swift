import AIPOPlatform

/// The range of an axis and its ticks at round numbers.
struct ChartAxis {
  struct Tick {
    var value: Double
    var label: String
    /// Of more weight than those between: a power of ten on a logarithmic axis.
    var isMain = true
  }

  let scale: LineChart.Scale
  private(set) var low: Double
  private(set) var high: Double
  private(set) var ticks: [Tick] = []

  /// `values` are finite, not empty, and positive where the scale is logarithmic. A padded axis ends at
  /// ticks.
  init(values: [Double], scale: LineChart.Scale, targetTicks: Int, padded: Bool) {
    self.scale = scale
    let transformed = values.map { scale == .logarithmic ? log10($0) : $0 }
    low = transformed.min()!
    high = transformed.max()!
    if high - low <= max(1e-9 * max(abs(high), abs(low)), 1e-200) {
      let margin = scale == .logarithmic ? 0.5 : max(abs(high) * 0.05, 1e-9)
      low -= margin
      high += margin
    }
    switch scale {
    case .linear: linearTicks(targetTicks, padded: padded)
    case .logarithmic: logarithmicTicks(targetTicks)
    }
  }

  /// Where a value lies between the ends, 0 to 1.
  func share(_ value: Double) -> Double {
    ((scale == .logarithmic ? log10(value) : value) - low) / (high - low)
  }

  /// The ticks whose labels, at these places on the drawing, leave each other room: the main ones before those between.
  func labelled(_ extent: (Tick) -> ClosedRange<Double>) -> [Tick] {
    var kept: [(tick: Tick, extent: ClosedRange<Double>)] = []
    for tick in ticks.filter(\.isMain) + ticks.filter({ !$0.isMain }) {
      let extent = extent(tick)
      if !kept.contains(where: { $0.extent.overlaps(extent) }) { kept.append((tick, extent)) }
    }
    return kept.map(\.tick)
  }

  private mutating func linearTicks(_ target: Int, padded: Bool) {
    let step = Self.roundStep(low, high, target)
    if padded {
      low = floor(low / step + 1e-9) * step
      high = ceil(high / step - 1e-9) * step
    }
    ticks = Self.roundTicks(low, high, step)
  }

  /// A round number of which about so many make the range.
  private static func roundStep(_ low: Double, _ high: Double, _ target: Int) -> Double {
    let rough = (high - low) / Double(target)
    let power = pow(10, floor(log10(rough)))
    return ([1.0, 2, 2.5, 5].first { $0 * power >= rough * 0.999 } ?? 10) * power
  }

  /// The multiples of a step.
  private static func roundTicks(_ low: Double, _ high: Double, _ step: Double) -> [Tick] {
    var decimals = 0
    var scaled = step
    while decimals < 12, abs(scaled - scaled.rounded()) > 1e-6 * scaled {
      scaled *= 10
      decimals += 1
    }
    let first = Int(ceil(low / step - 1e-9))
    let last = Int(floor(high / step + 1e-9))
    let wide = max(abs(low), abs(high)) >= 1e7 || decimals > 6
    return (first...max(first, last)).map { k in
      let value = Double(k) * step
      return Tick(value: value, label: wide ? Markup.short(value) : Markup.fixed(value, decimals: decimals))
    }
  }

  /// Decades; with 2 and 5 between where there are few, and round numbers within one.
  private mutating func logarithmicTicks(_ target: Int) {
    if high - low < 0.7, low > -6, high < 7 {
      let (low, high) = (pow(10, low), pow(10, high))
      ticks = Self.roundTicks(low, high, Self.roundStep(low, high, target))
      return
    }
    let first = Int(floor(low))
    let last = Int(ceil(high))
    let every = max(1, (last - first + 5) / 6)
    let within = high - low < 2.5
    for exponent in first...last where exponent % every == 0 || within {
      for factor in within ? [1.0, 2, 5] : [1.0] {
        let value = factor * pow(10, Double(exponent))
        let place = log10(value)
        guard place >= low - 1e-9, place <= high + 1e-9 else { continue }
        let label =
          abs(exponent) <= 3
          ? Markup.short(value) : (factor == 1 ? "" : "\(Int(factor))·") + "10" + Markup.superscript(exponent)
        ticks.append(Tick(value: value, label: label, isMain: factor == 1))
      }
    }
  }
}
