import AIPOKernels

/// Which part of the values conditions a coupling's nets; the other part is transformed.
public enum CouplingMask: Hashable, Sendable {
  /// The first half of the channels conditions; of an odd number the smaller one.
  case firstHalf
  /// What `firstHalf` leaves.
  case secondHalf
  /// Channels 0, 2, …
  case even
  /// Channels 1, 3, …
  case odd
  /// The channels that are true.
  case channels([Bool])
  /// Pixels with i + j even.
  case checkerboardEven
  /// Pixels with i + j odd.
  case checkerboardOdd
  /// Nothing conditions and everything is transformed: the net sees one channel of zeros, so that its output differs
  /// between places by its padding alone.
  case nothing

  /// All that have a name.
  public static let named: [(name: String, mask: Self)] = [
    ("first-half", .firstHalf), ("second-half", .secondHalf), ("even", .even), ("odd", .odd),
    ("checkerboard-even", .checkerboardEven), ("checkerboard-odd", .checkerboardOdd), ("nothing", .nothing),
  ]

  public var name: String { Self.named.first { $0.mask == self }?.name ?? "of given channels" }

  /// The parts among so many channels. Throws `unsupportedShape` where the mask is of another number of channels, or
  /// leaves none on one of the sides.
  func parts(_ shape: ImageShape) throws(FlowError) -> CouplingParts {
    let c = shape.channels
    let conditions: [Bool]
    switch self {
    case .checkerboardEven: return CouplingParts(parity: 0, channels: c)
    case .checkerboardOdd: return CouplingParts(parity: 1, channels: c)
    case .nothing: return CouplingParts(zerosFor: c)
    case .firstHalf: conditions = (0..<c).map { $0 < c / 2 }
    case .secondHalf: conditions = (0..<c).map { $0 >= c / 2 }
    case .even: conditions = (0..<c).map { $0 % 2 == 0 }
    case .odd: conditions = (0..<c).map { $0 % 2 == 1 }
    case .channels(let given): conditions = given
    }
    guard conditions.count == c else {
      throw .unsupportedShape(shape, reason: "a mask of \(conditions.count) channels meets \(c)")
    }
    guard conditions.contains(true), conditions.contains(false) else {
      throw .unsupportedShape(
        shape,
        reason: "a coupling needs a channel to condition and one to transform; of a single channel, squeeze "
          + "first or use a checkerboard")
    }
    return CouplingParts(conditions: conditions)
  }
}

/// Where the two parts of a coupling's values lie.
struct CouplingParts {
  /// What conditions: channels, one channel of zeros, or all channels of the pixels of one parity.
  let condition: ChannelRuns
  /// What is transformed.
  let transformed: ChannelRuns
  /// Of the conditioning pixels, for a checkerboard.
  var parity: Int?
  var isNothing = false

  init(conditions: [Bool]) {
    condition = ChannelRuns(conditions)
    transformed = ChannelRuns(conditions.map { !$0 })
  }

  init(parity: Int, channels: Int) {
    condition = ChannelRuns([Bool](repeating: true, count: channels))
    transformed = condition
    self.parity = parity
  }

  init(zerosFor channels: Int) {
    condition = ChannelRuns([true])
    transformed = ChannelRuns([Bool](repeating: true, count: channels))
    isNothing = true
  }

  /// The first channel of what conditions where the net can read it in place.
  var conditionOffset: Int? { parity == nil && !isNothing ? condition.only : nil }
}

/// Some of the channels, as runs of neighbours, to copy together and back.
struct ChannelRuns {
  private var runs: [Range<Int>] = []
  /// Channels in all runs.
  let count: Int

  init(_ chosen: [Bool]) {
    for channel in chosen.indices where chosen[channel] {
      if runs.last?.upperBound == channel {
        runs[runs.count - 1] = runs[runs.count - 1].lowerBound..<channel + 1
      } else {
        runs.append(channel..<channel + 1)
      }
    }
    count = chosen.count { $0 }
  }

  /// The first channel where all are neighbours.
  var only: Int? { runs.count == 1 ? runs[0].lowerBound : nil }

  /// Copies the chosen of `channels` of the given pixels; both arrays are counted from the batch's first pixel on.
  func gather<Scalar>(
    _ pixels: Range<Int>, from x: Memory<Scalar>, channels: Int, into y: Memory<Scalar>
  ) {
    copy(pixels) { run, offset, pixels in
      Kernel.copyChannels(
        run.count, pixels: pixels.count, from: part(x, pixels, channels, run.lowerBound), stride: channels,
        to: part(y, pixels, count, offset), stride: count)
    }
  }

  /// The other way.
  func scatter<Scalar>(
    _ pixels: Range<Int>, from y: Memory<Scalar>, into x: Memory<Scalar>, channels: Int
  ) {
    copy(pixels) { run, offset, pixels in
      Kernel.copyChannels(
        run.count, pixels: pixels.count, from: part(y, pixels, count, offset), stride: count,
        to: part(x, pixels, channels, run.lowerBound), stride: channels)
    }
  }

  private func copy(
    _ pixels: Range<Int>, _ body: (_ run: Range<Int>, _ offset: Int, _ pixels: Range<Int>) -> Void
  ) {
    guard !pixels.isEmpty else { return }
    var offset = 0
    for run in runs {
      body(run, offset, pixels)
      offset += run.count
    }
  }

  /// Some pixels of an array of `channels`, from a channel on.
  private func part<Scalar>(
    _ memory: Memory<Scalar>, _ pixels: Range<Int>, _ channels: Int, _ first: Int
  ) -> Memory<Scalar> { memory[pixels.lowerBound * channels + first..<pixels.upperBound * channels] }
}
