import AIPO
import ArgumentParser

/// How images are read: what the values and axes of a file mean, and how another size or colour is brought to the
/// wanted one.
struct ReadingOptions: ParsableArguments {
  @Option(parsing: .unconditional, help: .key("range")) var range: ValueRange?
  @Option(help: .key("layout")) var layout: ImageLayout?
  @Option(help: .key("crop")) var crop: PixelSize?
  @Option(help: .key("resize")) var resize: PixelSize?
  @Flag(help: .key("grey")) var grey = false
  @Flag(help: .key("colour")) var colour = false

  func validate() throws {
    if grey, colour { throw ValidationError("--grey and --colour exclude each other") }
  }

  var givenChannels: ChannelChoice? { grey ? .grey : colour ? .colour : nil }

  var transform: ImageTransform {
    ImageTransform(range: range, crop: crop, resize: resize, channels: givenChannels ?? .stored)
  }

  var reading: ImageReading { ImageReading(layout: layout, transform: transform) }
}

extension PixelSize: ExpressibleByArgument {
  public init?(argument: String) { self.init(argument) }
}

extension ValueRange: ExpressibleByArgument {
  public init?(argument: String) { self.init(argument) }
}

extension ImageLayout: ExpressibleByArgument {}
