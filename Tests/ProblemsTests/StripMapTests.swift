import AIPOKernels
import AIPOPriors
import AIPOProblems
import AIPOTestFiles
import Testing

/// Maps of an image whose rows are shared by ranks: the bits of one process.
@Suite struct StripMapTests {
  private static func values(_ count: Int, seed: UInt64) -> [Double] {
    var random = Philox(seed: seed, purpose: .test)
    return (0..<count).map { _ in random.normal() }
  }

  /// The rows of an image of this many values a row that a rank has.
  private static func own(_ x: [Double], _ length: Int, _ strips: Strips) -> [Double] {
    Array(x[strips.rows().lowerBound * length..<strips.rows().upperBound * length])
  }

  /// Kernels higher than a strip and than the image, off their middle, and images of fewer rows than ranks.
  @Test(
    arguments: [
      (ImageShape(height: 23, width: 14, channels: 1), 3, 5),
      (ImageShape(height: 12, width: 9, channels: 3), 4, 2),
      (ImageShape(height: 9, width: 5, channels: 1), 11, 1),
      (ImageShape(height: 3, width: 8, channels: 1), 2, 7),
    ], Boundary.allCases)
  func aConvolutionIsThatOfTheWhole(
    _ size: (shape: ImageShape, height: Int, width: Int), _ boundary: Boundary
  ) throws {
    let (shape, height, width) = size
    guard boundary != .valid || height <= shape.height && width <= shape.width else { return }
    let (column, row) = (Self.values(height, seed: 1), Self.values(width, seed: 2))
    let kernels = [
      try BlurKernel(Self.values(height * width, seed: 3), height: height, width: width),
      try BlurKernel(column.flatMap { a in row.map { a * $0 } }, height: height, width: width),
    ]
    for (kernel, path) in [
      (kernels[0], ConvolutionMap.Path.direct), (kernels[1], .separable), (kernels[0], .fourier),
    ] {
      let output = try ConvolutionMap(shape, kernel: kernel, boundary: boundary, path: path).output
      let (x, u) = (Self.values(shape.count, seed: 4), Self.values(output.count, seed: 5))
      func look(_ ranks: any Ranks, threads: Int) throws -> (
        path: ConvolutionMap.Path, apply: [Double], adjoint: [Double], normal: [Double]
      ) {
        let strips = Strips(ranks: ranks, height: shape.height)
        let own = ImageShape(height: strips.rows().count, width: shape.width, channels: shape.channels)
        let map = try ConvolutionMap(own, kernel: kernel, boundary: boundary, path: path, strips: strips)
        let scratch = Scratch(pool: ThreadPool(threads: threads, strips: strips))
        let strip = try Tensor(Self.own(x, shape.width * shape.channels, strips))
        let measured = try Tensor(Self.own(u, output.width * output.channels, map.measuredStrips))
        #expect(measured.count == map.output.count)
        var (y, z, normal) = (
          try Tensor<Double>(count: measured.count), try Tensor<Double>(count: strip.count),
          try Tensor<Double>(count: strip.count)
        )
        try y.withMemory { try map.apply(strip.view, into: $0, scratch) }
        try z.withMemory { try map.adjoint(measured.view, into: $0, scratch) }
        try normal.withMemory { y in
          try #require(map.nearNormal).apply({ 1 / (1 + $0) }, strip.view, into: y, scratch)
        }
        return (map.path, y.elements, z.elements, normal.elements)
      }
      let whole = try look(OneRank(), threads: 1)
      #expect(whole.path == path)
      for ranks in [2, 3, 5] {
        let parts = try ThreadRanks.run(ranks) { try look($0, threads: 1 + $0.rank % 2) }
        #expect(parts.flatMap(\.apply) == whole.apply, "\(path)")
        #expect(parts.flatMap(\.adjoint) == whole.adjoint, "\(path)")
        #expect(parts.flatMap(\.normal) == whole.normal, "\(path)")
      }
    }
  }

  /// Strips that have no inner row among them.
  @Test(arguments: [(3, 5, 1), (7, 4, 3), (24, 11, 1)], [2, 3, 5])
  func anEstimateOfNoiseIsThatOfTheWhole(_ size: (height: Int, width: Int, channels: Int), ranks: Int) throws
  {
    let x = Self.values(size.height * size.width * size.channels, seed: 8)
    func look(_ ranks: any Ranks) throws -> Double {
      let strips = Strips(ranks: ranks, height: size.height)
      let own = try Tensor(Self.own(x, size.width * size.channels, strips))
      return try NoiseEstimate.sigma(
        own.view, shape: ImageShape(height: strips.rows().count, width: size.width, channels: size.channels),
        Scratch(pool: ThreadPool(threads: 1, strips: strips)))
    }
    let whole = try look(OneRank())
    #expect(try ThreadRanks.run(ranks) { try look($0) } == [Double](repeating: whole, count: ranks))
  }

  /// A rank that sees all of its rows knows that others don't, and the greatest weight is that of any.
  @Test func whatTheDataSeeIsThatOfTheWhole() throws {
    let found = try ThreadRanks.run(3) { ranks in
      let strips = Strips(ranks: ranks, height: 6)
      let shape = ImageShape(height: strips.rows().count, width: 2, channels: 1)
      let map = try MaskMap(shape, mask: (0..<shape.count).map { ranks.rank != 1 || $0 != 0 })
      let scratch = Scratch(pool: ThreadPool(threads: 1, strips: strips))
      return (Coverage(of: map, strips), try map.meanSquare(scratch))
    }
    for (coverage, square) in found {
      #expect(coverage == .pixels)
      #expect(square == 11.0 / 12)
    }
  }
}
