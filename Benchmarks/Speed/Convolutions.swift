import AIPO

/// The three convolutions of a coupling's net, one way and back.
func convolutionBenchmarks() {
  for (kernel, input, output) in [(3, 6, 256), (1, 256, 256), (3, 256, 12)] {
    let make: @Sendable () throws -> ConvolutionWork = {
      try ConvolutionWork(side: 32, input: input, output: output, kernel: kernel)
    }
    let name = "\(kernel)×\(kernel), \(input)→\(output)"
    benchmark("convolution \(name)", make: make) { $0.forward() }
    benchmark("adjoint \(name)", make: make) { $0.adjoint() }
  }
}

private struct ConvolutionWork: Sendable {
  private let convolution: Convolution<Float>
  private let x: Storage<Float>
  private let y: Storage<Float>
  private let scratch: Storage<Float>

  init(side: Int, input: Int, output: Int, kernel: Int) throws {
    convolution = try Convolution(
      height: side, width: side, inChannels: input, outChannels: output, kernel: kernel)
    let weights = try Storage<Float>(count: convolution.weightCount)
    weights.memory.fill(0.01)
    convolution.pack(weights.memory)
    x = try Storage(count: side * side * input)
    y = try Storage(count: side * side * output)
    scratch = try Storage(count: convolution.workspaceCount)
    x.memory.fill(0.5)
    y.memory.fill(0.5)
  }

  func forward() {
    convolution.forward(
      rows: 0..<convolution.height, x: x.memory, stride: convolution.inChannels, bias: nil, epilogue: .relu,
      y: y.memory, stride: convolution.outChannels, scratch: scratch.memory)
  }

  func adjoint() {
    convolution.adjoint(
      rows: 0..<convolution.height, cotangent: y.memory, stride: convolution.outChannels, epilogue: [],
      mask: nil, into: x.memory, stride: convolution.inChannels, scratch: scratch.memory)
  }
}
