import AIPOImaging
import AIPOKernels

/// Pictures of a report as PNG data inside the page.
package enum ReportPicture {
  /// `[h, w, c]` clipped to [0, 1], as RGB or, where nothing needs colour, as grey. Missing (NaN) pixels
  /// are of a checked blue that no grey image has. With other than one or three channels the first is
  /// shown.
  static func pixels(_ tensor: Tensor<Float>) -> (pixels: [UInt8], shape: ImageShape) {
    let shape = ImageShape(height: tensor.shape[0], width: tensor.shape[1], channels: tensor.shape[2])
    let values = tensor.elements
    let coloured = shape.channels == 3
    let hasMissing = values.contains { $0.isNaN }
    var pixels = [UInt8]()
    for pixel in 0..<(shape.height * shape.width) {
      let channels = values[(pixel * shape.channels)..<((pixel + 1) * shape.channels)]
      if channels.contains(where: \.isNaN) {
        let odd = (pixel / shape.width + pixel % shape.width) % 2 == 1
        pixels += odd ? [74, 104, 160] : [58, 84, 136]
      } else if coloured {
        pixels += channels.map { PixelValue.byte(Double($0)) }
      } else {
        let grey = PixelValue.byte(Double(channels.first ?? 0))
        pixels += hasMissing ? [grey, grey, grey] : [grey]
      }
    }
    let stored = coloured || hasMissing ? 3 : 1
    return (pixels, ImageShape(height: shape.height, width: shape.width, channels: stored))
  }

  package static func image(_ tensor: Tensor<Float>, alt: String) throws(FileError) -> String {
    let (pixels, shape) = pixels(tensor)
    return try tag(pixels, shape, alt: alt, class: "")
  }

  /// The error's size at every pixel, mean over channels, after clipping.
  static func errors(_ tensor: Tensor<Float>, _ truth: Tensor<Float>) -> [Double] {
    let channels = max(tensor.shape[2], 1)
    let a = tensor.elements
    let b = truth.elements
    func clip(_ value: Float) -> Double { Double(min(max(value, 0), 1)) }
    return stride(from: 0, to: a.count, by: channels).map { start in
      var sum = 0.0
      for i in start..<(start + channels) { sum += abs(clip(a[i]) - clip(b[i])) }
      return sum / Double(channels)
    }
  }

  static func errorMap(
    _ tensor: Tensor<Float>, _ truth: Tensor<Float>, scale: Double, alt: String
  ) throws(FileError) -> String {
    try map(
      errors(tensor, truth), height: tensor.shape[0], width: tensor.shape[1], scale: scale, alt: alt)
  }

  /// Sizes at every pixel in colours, those of `scale` and above the brightest.
  static func map(_ sizes: [Double], height: Int, width: Int, scale: Double, alt: String) throws(FileError)
    -> String
  {
    let pixels = sizes.flatMap { size -> [UInt8] in
      let color = ColorMap.color(size / scale)
      return [color.red, color.green, color.blue]
    }
    return try tag(
      pixels, ImageShape(height: height, width: width, channels: 3), alt: alt, class: "error ")
  }

  /// A round number that 99 of 100 errors don't exceed.
  static func errorScale(_ entries: [ReconstructionReport.Entry]) -> Double {
    var errors = [Double]()
    for entry in entries {
      for result in entry.results {
        if let truth = entry.truth, let image = result.image, image.shape == truth.shape {
          errors += Self.errors(image, truth)
        }
      }
    }
    return scale(of: errors)
  }

  /// A round number that 99 of 100 sizes don't exceed.
  static func scale(of sizes: [Double]) -> Double {
    let sizes = sizes.filter(\.isFinite).sorted()
    guard !sizes.isEmpty else { return 1 }
    let high = sizes[min(sizes.count - 1, sizes.count * 99 / 100)]
    return [0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5].first { $0 >= high } ?? 1
  }

  /// Small images are enlarged by whole pixels; large ones smoothly.
  private static func tag(
    _ pixels: [UInt8], _ shape: ImageShape, alt: String, class name: String
  ) throws(FileError) -> String {
    let data = Markup.base64(try PNG.encode(pixels, shape: shape, path: "a picture of the report"))
    let name = name + (max(shape.height, shape.width) <= 128 ? "small" : "")
    return """
      <img class="\(name)" alt="\(Markup.escape(alt))" width="\(shape.width)" height="\(shape.height)" \
      src="data:image/png;base64,\(data)">
      """
  }
}
