import AIPO
import ArgumentParser

/// `aipo grid`: pictures side by side.
struct Grid: Verb {
  static let configuration = CommandConfiguration(
    abstract: "Lay out images side by side in one PNG.",
    discussion: """
      Takes images of one size, as the sheets of several reconstructions or
      the images of a folder, row by row. --resize brings others to one size.

      Example:
        aipo grid denoised.png filled.png --columns 2 --out figure.png \\
          --labels "with noise" "with a hole" --row-labels truth observed aipo
      """)

  @Argument(help: ArgumentHelp("Images, folders or arrays of images.", valueName: "images"))
  var images: [String]

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Images in a row. (default: about the square root of their number)", valueName: "n"))
  var columns: Int?

  @Option(parsing: .unconditional, help: ArgumentHelp("Side of a pixel in the picture.", valueName: "n"))
  var scale = 1

  @Option(parsing: .unconditional, help: ArgumentHelp("White pixels between images.", valueName: "n"))
  var gap = 2

  @Option(
    parsing: .upToNextOption,
    help: ArgumentHelp(
      "Words above the columns, or above every image where there are as many words as images. (default: none)",
      valueName: "text"))
  var labels: [String] = []

  @Option(
    parsing: .upToNextOption,
    help: ArgumentHelp(
      """
      Words left of the rows, from top to bottom; twice as many stand two beside each row, and so on. A method's name \
      gets the colour that reports give it. (default: none)
      """, valueName: "text"))
  var rowLabels: [String] = []

  @Option(help: ArgumentHelp("The picture, a .png.", valueName: "file"), completion: .file())
  var out: OutputPath

  @OptionGroup var reading: ReadingOptions
  @OptionGroup var common: CommonOptions

  func validate() throws {
    try require(("columns", columns ?? 1, 1...10_000), ("scale", scale, 1...64), ("gap", gap, 0...1000))
    try out.require([.png])
  }

  func outputs() -> [String?] { [out.path] }

  func perform() throws -> ExitStatus {
    let batch = try ImageGrid.read(images, reading.reading(), advise: common.warn)
    let grid = try ImageGrid(
      checking: batch, columns: columns, scale: scale, gap: gap,
      labels: ImageGrid.Labels(above: labels, left: rowLabels))
    try grid.write(to: out.path)
    let count = batch.shape[0]
    try common.tell("\(count) images in \(out.path)", ["out": .string(out.path), "count": .int(count)])
    return .done
  }
}
