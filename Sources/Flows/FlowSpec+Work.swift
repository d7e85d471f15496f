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
      var count = 0
      switch layer {
      case .conv1x1: count = shape.channels * shape.channels
      case .coupling(let coupling):
        let channels = coupling.netChannels(of: shape.channels)
        for step in coupling.net.convolutions(inChannels: channels.input, outChannels: channels.output) {
          count += step.kernel * step.kernel * step.inChannels * step.outChannels
        }
      case .maskedAffine(let coupling):
        let conditioning = try coupling.conditioning(shape).count { $0 }
        let transformed = shape.channels - conditioning
        switch coupling.nets {
        case .joint(let net):
          let outputs = coupling.effectiveTransform == .additive ? transformed : 2 * transformed
          count = net.products(input: conditioning, output: outputs)
        case .separate(let shift, let scale):
          for net in [shift, scale] {
            count += net?.products(input: conditioning, output: transformed) ?? 0
          }
        }
      case .actnorm, .permutation, .squeeze, .split, .logistic, .logit, .repeated: break
      }
      result.append((shape.height * shape.width, count))
    }
    return result
  }
}

extension MLPSpec {
  /// Multiplications with an addition for one pixel.
  fileprivate func products(input: Int, output: Int) -> Int {
    let sizes = [input] + hidden + [output]
    return zip(sizes, sizes.dropFirst()).reduce(0) { $0 + $1.0 * $1.1 }
  }
}
