import AIPO
import AIPOImaging
import ArgumentParser

/// How images are read: what the values and axes of a file mean, and how another size or colour is brought to the
/// wanted one.
struct ReadingOptions: ParsableArguments {
  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      """
      The values that are black and white, as 0:255 or -1:1, where a file is on another scale; \
      everything else, --sigma too, stays on 0:1. (default: 0:1 for floats, 0:255 for 8 bits, 0:65535 for 16-bit PNG)
      """, valueName: "low:high"))
  var range: ValueRange?

  @Option(
    help: ArgumentHelp(
      """
      The order of an array's axes: nhwc, nchw (channels first, as PyTorch has them), or of one image hwc, chw. \
      (default: nhwc; [n, h, w] and [h, w] where there are fewer axes)
      """, valueName: "axes"))
  var layout: ImageLayout?

  @Option(
    help: ArgumentHelp("Cut this size from the middle of every image. (default: no)", valueName: "HxW"))
  var crop: PixelSize?

  @Option(help: ArgumentHelp("Resize every image, after --crop. (default: no)", valueName: "HxW"))
  var resize: PixelSize?

  @Flag(help: "Turn colour images to grey.")
  var grey = false

  @Flag(help: "Give grey images three equal channels.")
  var colour = false

  func validate() throws {
    if grey, colour { throw ValidationError("--grey and --colour exclude each other") }
  }

  var givenChannels: ChannelChoice? { grey ? .grey : colour ? .colour : nil }

  var transform: ImageTransform {
    ImageTransform(range: range, crop: crop, resize: resize, channels: givenChannels ?? .stored)
  }
}

extension PixelSize: ExpressibleByArgument {
  public init?(argument: String) { self.init(argument) }
}

extension ValueRange: ExpressibleByArgument {
  public init?(argument: String) { self.init(argument) }
}

extension ImageLayout: ExpressibleByArgument {}
