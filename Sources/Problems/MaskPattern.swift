import AIPOKernels
import AIPOPriors

/// Which pixels of an image are hidden, as the command line spells it.
public enum MaskPattern: Hashable, Sendable, CustomStringConvertible {
  /// `center:S`: an S × S hole in the middle.
  case center(Int)
  /// `box:y,x,h,w`: this region is missing.
  case box(y: Int, x: Int, height: Int, width: Int)
  /// `random:P`: every pixel is missing with probability P, with all its channels.
  case random(Double)

  /// Reads `center:10`, `box:y,x,h,w` or `random:0.5`.
  public init(parsing text: String) throws(ProblemError) {
    let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
    let reason = "expected center:SIZE, box:y,x,h,w or random:SHARE"
    guard parts.count == 2 else { throw .invalidMask(text, reason: reason) }
    let numbers = parts[1].split(separator: ",", omittingEmptySubsequences: false)
    let integers = numbers.compactMap { Int($0) }
    switch (parts[0], numbers.count, integers.count) {
    case ("center", 1, 1) where integers[0] >= 0: self = .center(integers[0])
    case ("box", 4, 4) where integers.allSatisfy { $0 >= 0 }:
      self = .box(y: integers[0], x: integers[1], height: integers[2], width: integers[3])
    case ("random", 1, _):
      guard let share = Double(numbers[0]), share >= 0, share <= 1 else {
        throw .invalidMask(text, reason: "the missing share must lie in [0, 1]")
      }
      self = .random(share)
    default: throw .invalidMask(text, reason: reason)
    }
  }

  public var description: String {
    switch self {
    case .center(let size): "center:\(size)"
    case .box(let y, let x, let height, let width): "box:\(y),\(x),\(height),\(width)"
    case .random(let share): "random:\(share)"
    }
  }

  /// Whether all images share the mask.
  public var isShared: Bool {
    if case .random = self { false } else { true }
  }

  /// The observed values of an image in h, w, c order. `index` is the image's place in its source.
  public func observed(_ shape: ImageShape, seed: UInt64, index: Int) throws(ProblemError) -> [Bool] {
    var pixels = [Bool](repeating: true, count: shape.height * shape.width)
    func hide(y: Int, x: Int, height: Int, width: Int) throws(ProblemError) {
      guard y <= shape.height - height, x <= shape.width - width else {
        throw .invalidMask(description, reason: "the region reaches beyond the \(shape) image")
      }
      for row in y..<(y + height) {
        for column in x..<(x + width) { pixels[row * shape.width + column] = false }
      }
    }
    switch self {
    case .center(let size):
      guard size <= shape.height, size <= shape.width else {
        throw .invalidMask(description, reason: "the region reaches beyond the \(shape) image")
      }
      try hide(
        y: (shape.height - size) / 2, x: (shape.width - size) / 2, height: size, width: size)
    case .box(let y, let x, let height, let width):
      try hide(y: y, x: x, height: height, width: width)
    case .random(let share):
      var random = Philox(seed: seed, index: UInt64(index), purpose: .mask)
      for i in pixels.indices { pixels[i] = random.uniform() >= share }
    }
    return pixels.flatMap { [Bool](repeating: $0, count: shape.channels) }
  }
}
