/// Height, width and channels of one image. Arrays are NHWC: a batch has shape `[n, h, w, c]`.
public struct ImageShape: Hashable, Sendable, Codable, CustomStringConvertible {
  public var height: Int
  public var width: Int
  public var channels: Int

  public init(height: Int, width: Int, channels: Int) {
    self.height = height
    self.width = width
    self.channels = channels
  }

  /// The shape of vectors of d values, which are images of one pixel.
  public static func vector(_ d: Int) -> ImageShape { ImageShape(height: 1, width: 1, channels: d) }

  /// Whether an image is one pixel, that is a vector.
  public var isVector: Bool { height == 1 && width == 1 }

  /// Values in one image, `h·w·c`.
  public var count: Int { height * width * channels }

  public var description: String { "\(height)x\(width)x\(channels)" }
}

/// How many channels an image is given.
public enum ChannelChoice: String, CaseIterable, Hashable, Sendable {
  /// Those that it has.
  case stored
  /// One: `0.299 R + 0.587 G + 0.114 B` (ITU-R BT.601).
  case grey
  /// Three: grey is repeated.
  case colour
}

/// The order of the axes in an array of images. An array of fewer axes than its layout has no axis of channels, or
/// holds one image: `[n, h, w]`, `[h, w]`.
public enum ImageLayout: String, CaseIterable, Hashable, Sendable {
  /// Channels last.
  case nhwc
  /// Channels first, as PyTorch has them.
  case nchw
  /// One image, channels last.
  case hwc
  /// One image, channels first.
  case chw
}
