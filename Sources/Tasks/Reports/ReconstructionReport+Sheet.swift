import AIPOImaging
import AIPOKernels

extension ReconstructionReport {
  /// The pictures alone as a PNG: a column an image; truth and observation, where there are any,
  /// and the methods in their order as rows, named unless `isLabelled` is false. Every pixel becomes a square of
  /// `scale` pixels; a place without a picture is light grey. Throws `unwritable`.
  func writeSheet(to path: String, scale: Int = 3, isLabelled: Bool = true) throws(FileError) {
    var rows = [(label: String, images: [Tensor<Float>?])]()
    if entries.contains(where: { $0.truth != nil }) { rows.append(("truth", entries.map(\.truth))) }
    if entries.contains(where: { $0.observed != nil }) { rows.append(("observed", entries.map(\.observed))) }
    rows += methods.map { method in
      (method, entries.map { entry in entry.results.first { $0.method == method }?.image })
    }
    let cells = rows.flatMap(\.images)
    let height = cells.compactMap { $0?.shape[0] }.max() ?? 0
    let width = cells.compactMap { $0?.shape[1] }.max() ?? 0
    guard height > 0, width > 0 else {
      throw .unwritable(path: path, reason: "there are no pictures to write")
    }
    let images = cells.map { cell -> [UInt8] in
      var image = [UInt8](repeating: cell == nil ? 235 : 255, count: height * width * 3)
      guard let (pixels, shape) = cell.map(ReportPicture.pixels) else { return image }
      for y in 0..<shape.height {
        for x in 0..<shape.width {
          for channel in 0..<3 {
            let source = (y * shape.width + x) * shape.channels + min(channel, shape.channels - 1)
            image[(y * width + x) * 3 + channel] = pixels[source]
          }
        }
      }
      return image
    }
    let labels = ImageGrid.Labels(
      above: entries.map { Self.short($0.source) }, left: rows.map(\.label), title: title)
    let grid = ImageGrid(
      images: images, shape: ImageShape(height: height, width: width, channels: 3), columns: entries.count,
      scale: scale, gap: 2 * scale, labels: isLabelled ? labels : ImageGrid.Labels())
    try grid.write(to: path)
  }
}
