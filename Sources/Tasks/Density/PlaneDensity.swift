import AIPOFlows
import AIPOImaging
import AIPOKernels

/// A rectangle of the plane, `low:high` for both variables or `low:high,low:high`.
public struct PlaneRange: Hashable, Sendable, CustomStringConvertible {
  public let x: ClosedRange<Double>
  public let y: ClosedRange<Double>

  public init(x: ClosedRange<Double>, y: ClosedRange<Double>) {
    self.x = x
    self.y = y
  }

  /// Nil where the text is neither.
  public init?(_ text: String) {
    var ranges: [ClosedRange<Double>] = []
    for part in text.split(separator: ",", omittingEmptySubsequences: false) {
      let ends = part.split(separator: ":", omittingEmptySubsequences: false).map { Double($0) ?? .nan }
      guard ends.count == 2, ends[0].isFinite, ends[1].isFinite, ends[0] < ends[1] else { return nil }
      ranges.append(ends[0]...ends[1])
    }
    guard let first = ranges.first, let last = ranges.last, ranges.count <= 2 else { return nil }
    self.init(x: first, y: last)
  }

  public var description: String {
    [x, y].map { "\(fixed($0.lowerBound, 3)):\(fixed($0.upperBound, 3))" }.joined(separator: ",")
  }
}

/// A log-density over a rectangle of the plane, and draws.
public struct PlaneDensity: Sendable {
  public let range: PlaneRange
  /// The highest value, in nats.
  public let highest: Double
  private let pixels: Int
  private let values: [Double]
  private let draws: [(x: Double, y: Double)]

  /// Nil where it was cancelled.
  public init?<Scalar: KernelScalar>(
    _ flow: Flow<Scalar>, range: PlaneRange? = nil, pixels: Int, draws count: Int, seed: UInt64,
    isCancelled: () -> Bool
  ) throws {
    let sample = try flow.sample(indices: 0..<max(count, 200), seed: seed).elements.map { Double($0) }
    let points = stride(from: 0, to: sample.count, by: 2).map { (x: sample[$0], y: sample[$0 + 1]) }
    let range = range ?? Self.range(of: points)
    let columns = PlanePicture.middles(range.x, pixels)
    var values: [Double] = []
    for y in PlanePicture.middles(range.y, pixels) {
      if isCancelled() { return nil }
      let row = try Tensor<Scalar>(
        shape: [pixels, 1, 1, 2], elements: columns.flatMap { [Scalar($0), Scalar(y)] })
      values += try flow.evaluate(row)
    }
    self.range = range
    self.pixels = pixels
    self.values = values
    draws = Array(points.prefix(count))
    highest = values.reduce(-.infinity) { $1.isFinite ? max($0, $1) : $0 }
  }

  /// The same of a model, which must be of vectors of two values.
  public init?<Scalar: KernelScalar>(
    _ model: LoadedModel<Scalar>, _ settings: Settings = Settings(), seed: UInt64 = 0,
    isCancelled: () -> Bool = { false }
  ) throws {
    guard model.shape == .vector(2) else {
      throw TaskError(
        .data, "\(model.source.path): the model is of \(model.shape), expected vectors of 2 values")
    }
    try self.init(
      model.flow, range: settings.range, pixels: settings.pixels, draws: settings.count, seed: seed,
      isCancelled: isCancelled)
  }

  /// What of a density is drawn, and how: the flags of `aipo density`.
  public struct Settings: KeyedSettings, Hashable, Sendable {
    /// Nil for where 99 of 100 draws fall.
    public var range: PlaneRange?
    /// Height and width of the picture.
    public var pixels = 512
    /// Draws to show.
    public var count = 500
    /// Nats below the highest log-density that are shown as black.
    public var depth = 10.0

    public init() {}

    public static let keys: [SettingKey<Settings>] = [
      key(
        "range",
        "What is shown: low:high for both variables, or low:high,low:high. (default: where 99 of 100 draws fall)",
        "a:b", \.range, .parsed("low:high or low:high,low:high") { PlaneRange($0) }),
      key("pixels", "Height and width of the picture in pixels.", "n", \.pixels, .whole(16...4096)),
      key("count", "Draws to show.", "n", \.count, .whole(0...1_000_000)),
      key(
        "depth", "Nats below the highest log-density that are shown as black.", "nats", \.depth,
        .number(Double.leastNonzeroMagnitude...Double.greatestFiniteMagnitude, "a positive number")),
    ]
  }

  package var json: JSONValue {
    func numbers(_ range: ClosedRange<Double>) -> JSONValue {
      .array([.number(range.lowerBound), .number(range.upperBound)])
    }
    return [
      "x": numbers(range.x), "y": numbers(range.y), "pixels": .int(pixels), "count": .int(draws.count),
      "highest": .number(highest),
    ]
  }

  /// Log-densities down to `depth` nats below the highest in colours, with the draws on it.
  public func picture(depth: Double) -> PlanePicture {
    let top = highest.isFinite ? highest : 0
    var picture = PlanePicture(
      values: values, columns: pixels, x: range.x, y: range.y, scale: top - depth...top)
    for draw in draws {
      picture.addPoint(
        draw, radius: max(1, Double(pixels) / 400), color: (red: 120, green: 220, blue: 255), opacity: 0.8)
    }
    return picture
  }

  /// Where 99 of 100 points fall, and a fifth of it on each side.
  private static func range(of points: [(x: Double, y: Double)]) -> PlaneRange {
    func range(_ values: [Double]) -> ClosedRange<Double> {
      let sorted = values.filter(\.isFinite).sorted()
      guard let first = sorted.first else { return 0...1 }
      let (low, high) = (sorted[sorted.count / 200], sorted[sorted.count - 1 - sorted.count / 200])
      let margin = high > low ? 0.2 * (high - low) : max(1, first.magnitude)
      return low - margin...high + margin
    }
    return PlaneRange(x: range(points.map(\.x)), y: range(points.map(\.y)))
  }
}
