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

  /// Values in one image, `h·w·c`.
  public var count: Int { height * width * channels }

  public var description: String { "\(height)x\(width)x\(channels)" }
}
