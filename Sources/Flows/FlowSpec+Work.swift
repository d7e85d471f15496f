import AIPOKernels

extension FlowSpec {
  /// Multiplications with an addition that the convolutions of one pass over one image take: `h·w·k²·in·out` each,
  /// 3×3 and 1×1 (which a fully connected net is made of), pixels outside the image counted as if they were inside.
  /// `Int.max` where it is more.
  ///
  /// - Throws: `FlowError` if the spec is invalid or doesn't accept the size.
  public func multiplyAdds(for image: ImageShape) throws(FlowError) -> Int {
    try weights(for: image).reduce(0) { sum, layer in
      let (product, overflow) = layer.pixels.multipliedReportingOverflow(by: layer.count)
      let (total, carry) = sum.addingReportingOverflow(product)
      return overflow || carry ? Int.max : total
    }
  }

  /// The layers' weights without biases: how many each has, and at how many pixels of an image they are applied.
  func weights(for image: ImageShape) throws(FlowError) -> [(pixels: Int, count: Int)] {
    var result: [(pixels: Int, count: Int)] = []
    for (layer, shape) in zip(try flattened(), try shapes(from: image)) {
      result.append((shape.height * shape.width, try layer.kind?.multiplyAdds(for: shape) ?? 0))
    }
    return result
  }
}
