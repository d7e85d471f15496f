import AIPOKernels

/// How many training images are kept back to measure bits/dim on.
public enum HoldOut: Sendable, Hashable, CustomStringConvertible {
  /// A tenth, rounded down, and 2000 at most.
  case automatic
  case count(Int)
  /// A share between 0 and 1, to the nearest image.
  case share(Double)

  /// `auto`, a number of images, or a share as `0.1`; nil for anything else.
  public init?(_ text: String) {
    if text == "auto" {
      self = .automatic
    } else if let count = Int(text.filter { $0 != "_" }), (0...1_000_000_000).contains(count) {
      self = .count(count)
    } else if let share = Double(text), share >= 0, share < 1 {
      self = share == 0 ? .count(0) : .share(share)
    } else {
      return nil
    }
  }

  /// As `init` reads it.
  public var description: String {
    switch self {
    case .automatic: "auto"
    case .count(let count): "\(count)"
    case .share(let share): JSONText.number(share)
    }
  }

  /// Images kept back of so many.
  public func count(of images: Int) -> Int {
    switch self {
    case .automatic: min(images / 10, 2000)
    case .count(let count): count
    case .share(let share): Int((share * Double(images)).rounded())
    }
  }
}
