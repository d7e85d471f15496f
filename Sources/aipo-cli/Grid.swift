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
    for (flag, value, range) in [
      ("--columns", columns ?? 1, 1...10_000), ("--scale", scale, 1...64), ("--gap", gap, 0...1000),
    ] { try require(flag, value, in: range) }
    try out.require([.png], "--out")
  }

  func perform() throws -> ExitStatus {
    try OutputPath.checkWritable([out])
    var elements: [Float] = []
    var shape: ImageShape?
    for path in images {
      let set = try ImageSet(path: path, layout: reading.layout)
      let found = try set.shape(of: 0..<set.count, transform: reading.transform)
      let advice = try set.advice + set.advice(0..<set.count, transform: reading.transform)
      common.warn(advice.map(\.description))
      if let shape, found != shape {
        throw CommandFailure(.badData, "\(path): images are \(found), expected \(shape) like those before")
      }
      shape = found
      elements += try set.read(0..<set.count, as: Float.self, transform: reading.transform).elements
    }
    guard let shape, !elements.isEmpty else {
      throw CommandFailure(.badData, "there are no images to lay out")
    }
    let count = elements.count / shape.count
    let pixels = ImageGrid.pixels(count, shape, columns: columns, scale: scale, gap: gap)
    guard pixels <= 1e8 else {
      throw CommandFailure(
        .usage,
        "the picture of \(count) images would have \(fixed(pixels / 1e6, 0)) million pixels, expected at most "
          + "100 million; take fewer images or a smaller --scale or --gap")
    }
    let words = ImageGrid.Labels(above: labels, left: rowLabels)
    let across = ImageGrid.columns(columns, of: count)
    guard words.fit(images: count, columns: across) else {
      throw CommandFailure(
        .usage,
        "\(labels.count) --labels and \(rowLabels.count) --row-labels for \(count) images in \(across) columns: expected "
          + "a label for each column or each image, and a row label for each row or a multiple of that")
    }
    let batch = try Tensor(shape: [count, shape.height, shape.width, shape.channels], elements: elements)
    try ImageGrid(batch, columns: columns, scale: scale, gap: gap, labels: words).write(to: out.path)
    try common.print("\(count) images in \(out.path)")
    try common.printJSON(["out": .string(out.path), "count": .int(count)])
    return .done
  }
}
