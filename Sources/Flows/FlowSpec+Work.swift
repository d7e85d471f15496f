import AIPOKernels

extension FlowSpec {
  /// Multiplications with an addition that the convolutions of one pass over one image take: `h·w·k²·in·out` each,
  /// 3×3 and 1×1 (which a fully connected net is made of), pixels outside the image counted as if they were inside.
  ///
  /// - Throws: `FlowError` if the spec is invalid or doesn't accept the size.
  public func multiplyAdds(for image: ImageShape) throws(FlowError) -> Int {
    var sum = 0
    for (layer, shape) in zip(try flattened(), try shapes(from: image)) {
      let pixels = shape.height * shape.width
      switch layer {
      case .conv1x1: sum += pixels * shape.channels * shape.channels
      case .coupling(let coupling):
        let channels = coupling.netChannels(of: shape.channels)
        for step in coupling.net.convolutions(inChannels: channels.input, outChannels: channels.output) {
          sum += pixels * step.kernel * step.kernel * step.inChannels * step.outChannels
        }
      case .maskedAffine(let coupling):
        let conditioning = try coupling.conditioning(shape).count { $0 }
        let transformed = shape.channels - conditioning
        switch coupling.nets {
        case .joint(let net):
          let outputs = coupling.effectiveTransform == .additive ? transformed : 2 * transformed
          sum += pixels * net.products(input: conditioning, output: outputs)
        case .separate(let shift, let scale):
          for net in [shift, scale] {
            sum += pixels * (net?.products(input: conditioning, output: transformed) ?? 0)
          }
        }
      case .actnorm, .permutation, .squeeze, .split, .logistic, .repeated: break
      }
    }
    return sum
  }
}

extension MLPSpec {
  /// Multiplications with an addition for one pixel.
  fileprivate func products(input: Int, output: Int) -> Int {
    let sizes = [input] + hidden + [output]
    return zip(sizes, sizes.dropFirst()).reduce(0) { $0 + $1.0 * $1.1 }
  }
}
