import AIPO
import ArgumentParser

/// How images are read: what the values and axes of a file mean, and how another size or colour is brought to the
/// wanted one.
struct ReadingOptions: SettingFlags {
  @Option(parsing: .unconditional, help: .key("range")) var range: String?
  @Option(help: .key("layout"), completion: .key("layout")) var layout: String?
  @Option(help: .key("crop")) var crop: String?
  @Option(help: .key("resize")) var resize: String?
  @Flag(help: .key("grey")) var grey = false
  @Flag(help: .key("colour")) var colour = false

  func validate() throws {
    if grey, colour { throw ValidationError("--grey and --colour exclude each other") }
    _ = try usage(reading)
  }

  func reading() throws -> ImageReading { try settings().reading }
}
