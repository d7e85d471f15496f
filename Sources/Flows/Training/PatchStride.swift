/// How a picture of any size is seen by a model that was trained on patches.
public enum PatchStride: Sendable, Hashable, CustomStringConvertible {
  /// In patches where the flow fits one size alone or knows its noise level, else as a whole.
  case automatic
  /// As one image, which the flow must accept.
  case whole
  /// In patches that lie so many pixels apart.
  case pixels(Int)

  /// `auto`, `whole` or a number of pixels; nil for anything else.
  public init?(_ text: String) {
    switch text {
    case "auto": self = .automatic
    case "whole": self = .whole
    default:
      guard let pixels = Int(text), (1...65536).contains(pixels) else { return nil }
      self = .pixels(pixels)
    }
  }

  /// As `init` reads it.
  public var description: String {
    switch self {
    case .automatic: "auto"
    case .whole: "whole"
    case .pixels(let pixels): "\(pixels)"
    }
  }
}
