import AIPOKernels

extension ReconstructionReport.Section {
  /// The section's pictures alone as a PNG: a row an image, with truth and observation, where there are
  /// any, and the methods in their order as columns. Every pixel becomes a square of `scale` pixels; a
  /// place without a picture is light grey. Throws `unwritable`.
  public func writeSheet(to path: String, scale: Int = 4) throws(FileError) {
    let methods = methods
    let hasTruth = entries.contains { $0.truth != nil }
    let hasObserved = entries.contains { $0.observed != nil }
    let columns = methods.count + (hasTruth ? 1 : 0) + (hasObserved ? 1 : 0)
    let cells = entries.flatMap { entry -> [Tensor<Float>?] in
      (hasTruth ? [entry.truth] : []) + (hasObserved ? [entry.observed] : [])
        + methods.map { method in entry.results.first { $0.method == method }?.image }
    }
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
    let shape = ImageShape(height: height, width: width, channels: 3)
    try ImageGrid(images: images, shape: shape, columns: columns, scale: scale, gap: scale).write(to: path)
  }
}
