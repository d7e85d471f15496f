import AIPO
import ArgumentParser

/// `aipo density`: a picture of a density of two variables.
struct Density: Verb {
  static let configuration = CommandConfiguration(
    abstract: "Draw the log-density of a model of two variables.",
    discussion: """
      For models of vectors of two values: log p(x) in colours, the first value to
      the right and the second upwards, with draws of the model on it.

      Example:
        aipo density --model moons/model.safetensors --out moons.png
        aipo density --model moons/model.safetensors --range=-2:3,-1.5:2 \\
          --out moons.png
      """)

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "What is shown: low:high for both variables, or low:high,low:high. (default: where 99 of 100 draws fall)",
      valueName: "a:b"))
  var range: PlaneRange?

  @Option(
    parsing: .unconditional, help: ArgumentHelp("Height and width of the picture in pixels.", valueName: "n"))
  var pixels = 512

  @Option(parsing: .unconditional, help: ArgumentHelp("Draws to show.", valueName: "n"))
  var count = 500

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Nats below the highest log-density that are shown as black.", valueName: "nats"))
  var depth = 10.0

  @Option(help: ArgumentHelp("The picture, a .png.", valueName: "file"), completion: .file())
  var out: OutputPath

  @OptionGroup var model: ModelOptions
  @OptionGroup var common: CommonOptions

  func validate() throws {
    guard (16...4096).contains(pixels) else {
      throw ValidationError("--pixels is \(pixels), expected 16 to 4096")
    }
    guard (0...1_000_000).contains(count) else {
      throw ValidationError("--count is \(count), expected 0 to 1000000")
    }
    guard depth > 0, depth.isFinite else {
      throw ValidationError("--depth is \(depth), expected a positive number")
    }
    try out.requirePNG("--out")
  }

  func perform() throws -> ExitStatus {
    try OutputPath.checkWritable([out])
    Interrupt.install()
    return switch common.precision {
    case .float32: try draw(Float.self)
    case .float64: try draw(Double.self)
    }
  }

  private func draw<Scalar: KernelScalar>(_: Scalar.Type) throws -> ExitStatus {
    let prior = try Prior<Scalar>(options: model, common: common)
    guard prior.shape == .vector(2) else {
      throw CommandFailure(
        .badData, "\(prior.source.path): the model is of \(prior.shape), expected vectors of 2 values")
    }
    let density = try PlaneDensity(
      prior.flow, range: range, pixels: pixels, draws: count, seed: common.seed,
      isCancelled: { Interrupt.requested })
    guard let density else { return Interrupt.status ?? .interrupted }
    try density.picture(depth: depth).write(to: out.path)
    let (x, y) = (density.range.x, density.range.y)
    func numbers(_ range: ClosedRange<Double>) -> JSONValue {
      .array([.number(range.lowerBound), .number(range.upperBound)])
    }
    try common.print(
      "log-density over \(density.range) in \(out.path), at most \(fixed(density.highest, 3)) nats")
    try common.printJSON(
      .object(
        [
          ("out", .string(out.path)), ("x", numbers(x)), ("y", numbers(y)), ("pixels", .int(pixels)),
          ("count", .int(count)), ("highest", .number(density.highest)),
        ] + Provenance.members(model: prior.source, common: common)))
    return .done
  }
}

/// A rectangle of the plane, `low:high` for both variables or `low:high,low:high`.
struct PlaneRange: ExpressibleByArgument, CustomStringConvertible {
  let x: ClosedRange<Double>
  let y: ClosedRange<Double>

  init(x: ClosedRange<Double>, y: ClosedRange<Double>) {
    self.x = x
    self.y = y
  }

  init?(argument: String) {
    var ranges: [ClosedRange<Double>] = []
    for part in argument.split(separator: ",", omittingEmptySubsequences: false) {
      let ends = part.split(separator: ":", omittingEmptySubsequences: false).map { Double($0) ?? .nan }
      guard ends.count == 2, ends[0].isFinite, ends[1].isFinite, ends[0] < ends[1] else { return nil }
      ranges.append(ends[0]...ends[1])
    }
    guard let first = ranges.first, let last = ranges.last, ranges.count <= 2 else { return nil }
    self.init(x: first, y: last)
  }

  var description: String {
    [x, y].map { "\(fixed($0.lowerBound, 3)):\(fixed($0.upperBound, 3))" }.joined(separator: ",")
  }
}

/// A log-density over a rectangle of the plane, and draws.
struct PlaneDensity {
  let range: PlaneRange
  /// The highest value, in nats.
  let highest: Double
  private let pixels: Int
  private let values: [Double]
  private let draws: [(x: Double, y: Double)]

  /// Nil where it was cancelled.
  init?<Scalar: KernelScalar>(
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

  func picture(depth: Double) -> PlanePicture {
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
