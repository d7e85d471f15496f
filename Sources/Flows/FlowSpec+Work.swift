import AIPOKernels

extension FlowSpec {
  /// Multiplications with an addition that the convolutions of one pass over one image take: `h·w·k²·in·out` each,
  /// 3×3 and 1×1, pixels outside the image counted as if they were inside.
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
      case .actnorm, .squeeze, .split, .logistic, .repeated: break
      }
    }
    return sum
  }
}
