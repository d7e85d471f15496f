import AIPO
import ArgumentParser

/// A file that a verb is going to write, tried before the work starts.
struct OutputPath: ExpressibleByArgument {
  let path: String

  init?(argument: String) {
    guard !argument.isEmpty else { return nil }
    path = argument
  }

  static var defaultCompletionKind: CompletionKind { .file() }

  /// Refuses a name for --out that says none of these formats.
  func require(_ formats: [ImageOutputFormat]) throws {
    try usage { try OutputFiles.require(path, formats, key: "out") }
  }
}

/// Does what looks at settings; one that is wrong is wrong usage, shown with the verb's.
func usage<Result>(_ body: () throws -> Result) throws -> Result {
  do { return try body() } catch let error as TaskError {
    throw ValidationError(error.description)
  } catch SolverError.invalidOption(let name, let found, let expected) {
    throw ValidationError("--\(name) is \(found), expected \(expected)")
  }
}

extension ArgumentHelp {
  /// Help for a file of images: what it is for, and the formats.
  static func images(_ what: String, _ more: String = "") -> ArgumentHelp {
    ArgumentHelp(
      "\(what): .png (clipped, a grid where several), .tif (a page each), .nii or .nii.gz (grey, a slice each), .npy or "
        + ".npz; all but PNG unclipped.\(more)", valueName: "file")
  }
}

/// The size of images that a model gives.
struct DecodedImageOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp("Height and width of the images. (default: those of the training)", valueName: "HxW"))
  var size: PixelSize?
}

extension PixelSize: ExpressibleByArgument {}

/// Refuses flags' numbers out of their ranges.
func require(_ numbers: (key: String, value: Int, range: ClosedRange<Int>)...) throws {
  try usage { try TaskError.require(numbers) }
}
