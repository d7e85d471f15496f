import AIPOImaging
import AIPOKernels

extension ImageGrid {
  /// The images of files, folders and arrays, all of one size, `[n, h, w, c]`. `advise` is given what looks like a mistake
  /// about those of each.
  public static func read(
    _ paths: [String], _ reading: ImageReading = ImageReading(), advise: ([Advice]) -> Void = { _ in }
  ) throws -> Tensor<Float> {
    var elements: [Float] = []
    var shape: ImageShape?
    for path in paths {
      let set = try ImageSet(path: path, layout: reading.layout)
      let found = try set.shape(of: 0..<set.count, transform: reading.transform)
      advise(try set.advice + set.advice(0..<set.count, transform: reading.transform))
      if let shape, found != shape {
        throw TaskError(.data, "\(path): images are \(found), expected \(shape) like those before")
      }
      shape = found
      elements += try set.read(0..<set.count, as: Float.self, transform: reading.transform).elements
    }
    guard let shape, !elements.isEmpty else { throw TaskError(.data, "there are no images to lay out") }
    return try Tensor(
      shape: [elements.count / shape.count, shape.height, shape.width, shape.channels], elements: elements)
  }

  /// Lays out a batch `[n, h, w, c]` row by row. Throws a usage error where the picture would be too large, or labels don't
  /// fit.
  public init(
    checking images: Tensor<Float>, columns: Int? = nil, scale: Int = 1, gap: Int = 2,
    labels: Labels = Labels()
  ) throws(TaskError) {
    let count = images.shape[0]
    let shape = ImageShape(height: images.shape[1], width: images.shape[2], channels: images.shape[3])
    let pixels = Self.pixels(count, shape, columns: columns, scale: scale, gap: gap)
    guard pixels <= 1e8 else {
      throw TaskError(
        .usage,
        "the picture of \(count) images would have \(fixed(pixels / 1e6, 0)) million pixels, expected at most "
          + "100 million; take fewer images or a smaller --scale or --gap")
    }
    let across = Self.columns(columns, of: count)
    guard labels.fit(images: count, columns: across) else {
      throw TaskError(
        .usage,
        "\(labels.above.count) --labels and \(labels.left.count) --row-labels for \(count) images in \(across) columns: "
          + "expected a label for each column or each image, and a row label for each row or a multiple of that"
      )
    }
    self.init(images, columns: columns, scale: scale, gap: gap, labels: labels)
  }
}
