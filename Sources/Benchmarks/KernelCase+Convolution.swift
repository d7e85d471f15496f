import AIPOKernels

extension KernelCase {
  /// The convolutions of couplings on images of `side`² pixels and some channels, by the width of their nets; enough
  /// images to make about 512 pixels.
  static var convolutions: [KernelCase] {
    [(14, 4, 64), (7, 8, 64), (16, 4, 128), (4, 16, 128), (32, 12, 256), (8, 48, 256), (32, 12, 512)].flatMap
    {
      (side, channels, hidden) -> [KernelCase] in
      let half = channels / 2
      return [(3, half, hidden), (1, hidden, hidden), (3, hidden, channels)].flatMap {
        kernel, input, output in
        convolution(kernel: kernel, side: side, input: input, output: output)
      }
    }
  }

  private enum Direction: String, CaseIterable {
    case forward, adjoint, gradient
  }

  private static func convolution(kernel: Int, side: Int, input: Int, output: Int) -> [KernelCase] {
    let images = max(1, 512 / (side * side))
    let pixels = images * side * side
    let taps = kernel * kernel
    return Direction.allCases.map { direction in
      let terms =
        switch direction {
        case .forward: taps * input
        case .adjoint: taps * output
        case .gradient: pixels
        }
      return KernelCase(
        kernel: "conv\(kernel)×\(kernel) \(direction)",
        shape: "\(images)×\(side)×\(side), \(input)→\(output)",
        operations: 2 * Double(pixels * taps * input * output),
        bytes: Double((pixels * (input + output) + taps * input * output) * MemoryLayout<Scalar>.stride),
        terms: terms
      ) { arrays in
        let convolution = try Convolution<Scalar>(
          height: side, width: side, inChannels: input, outChannels: output, kernel: kernel)
        let weights = try arrays.random(convolution.weightCount, scale: 1 / Double(taps * input).squareRoot())
        convolution.pack(weights)
        let x = try arrays.random(pixels * input)
        let y = try arrays.random(pixels * output)
        let bias = try arrays.random(output)
        let scratch = try arrays.scratch(
          max(convolution.workspaceCount, convolution.gradientWorkspaceCount))
        let rows = 0..<images * side
        switch direction {
        case .forward:
          let mask = Mask(try arrays.bits(pixels * Mask.bytes(channels: output)))
          return {
            convolution.forward(
              rows: rows, x: x, stride: input, bias: bias, epilogue: .relu, mask: mask, y: y, stride: output,
              scratch: scratch)
          }
        case .adjoint:
          let mask = Mask(try arrays.bits(pixels * Mask.bytes(channels: input)))
          return {
            convolution.adjoint(
              rows: rows, cotangent: y, stride: output, epilogue: .gate, mask: mask, into: x, stride: input,
              scratch: scratch)
          }
        case .gradient:
          let gradient = try arrays.zeros(convolution.weightCount)
          let biasGradient = try arrays.zeros(output)
          return {
            convolution.accumulateGradient(
              rows: rows, x: x, stride: input, cotangent: y, stride: output, weights: gradient,
              bias: biasGradient, scratch: scratch)
          }
        }
      }
    }
  }
}
