import AIPOTestFiles
import Testing

@testable import AIPOKernels

/// Transforms of an image whose rows are shared by ranks: the bits of one process.
@Suite struct StripTransformTests {
  private static func strip(_ shape: ImageShape, _ strips: Strips) -> ImageShape {
    ImageShape(height: strips.rows().count, width: shape.width, channels: shape.channels)
  }

  /// This rank's rows of an image.
  private static func own(_ x: [Double], _ shape: ImageShape, _ strips: Strips) -> [Double] {
    let (rows, length) = (strips.rows(), shape.width * shape.channels)
    return Array(x[rows.lowerBound * length..<rows.upperBound * length])
  }

  @Test func stripsBeginAtEvenRows() throws {
    for (height, count) in [(9, 3), (10, 4), (3, 5), (1, 2), (64, 5)] {
      let rows = try ThreadRanks.run(count) { Strips(ranks: $0, height: height).rows() }
      #expect(rows.flatMap { Array($0) } == Array(0..<height))
      #expect(rows.allSatisfy { $0.lowerBound % 2 == 0 || $0.isEmpty })
    }
  }

  /// One column and more ranks than rows or columns among them.
  @Test(
    arguments: FourierTests.shapes + [
      ImageShape(height: 37, width: 26, channels: 3), ImageShape(height: 12, width: 9, channels: 1),
    ], [2, 3, 5])
  func aSpectrumIsThatOfTheWhole(_ shape: ImageShape, ranks: Int) throws {
    let x = try FourierTests.image(shape).elements
    func look(_ ranks: any Ranks, threads: Int) throws -> (spectrum: [Double], back: [Double]) {
      let strips = Strips(ranks: ranks, height: shape.height)
      let transform = try FourierTransform(Self.strip(shape, strips), strips: strips)
      let scratch = Scratch(pool: ThreadPool(threads: threads, strips: strips))
      let strip = try Tensor(Self.own(x, shape, strips))
      var spectrum = try Tensor<Double>(count: transform.spectrumCount)
      var back = try Tensor<Double>(count: strip.count)
      try spectrum.withMemory { try transform.forward(strip.view, into: $0, scratch) }
      let found = spectrum.elements
      try spectrum.withMemory { spectrum in
        try back.withMemory { try transform.backward(spectrum, into: $0, scratch) }
      }
      return (found, back.elements)
    }
    let whole = try look(OneRank(), threads: 1)
    let parts = try ThreadRanks.run(ranks) { try look($0, threads: 1 + $0.rank % 2) }
    #expect(parts.flatMap(\.back) == whole.back)
    let width = shape.width / 2 + 1
    for (rank, part) in parts.enumerated() {
      let columns = width * rank / ranks..<width * (rank + 1) / ranks
      let length = 2 * shape.channels
      let expected: [Double] = (0..<shape.height).flatMap { row -> ArraySlice<Double> in
        let start = row * width * length
        return whole.spectrum[start + columns.lowerBound * length..<start + columns.upperBound * length]
      }
      #expect(part.spectrum == expected)
    }
  }

  @Test(arguments: StationaryTests.cases, [2, 3, 5])
  func aStationaryCovarianceIsThatOfTheWhole(
    _ kind: (lags: LagCovariance, shape: ImageShape), ranks: Int
  ) throws {
    let shape = kind.shape
    let x = try FourierTests.image(shape).elements
    func look(_ ranks: any Ranks) throws -> (values: [Double], y: [Double]) {
      let strips = Strips(ranks: ranks, height: shape.height)
      let scratch = Scratch(pool: ThreadPool(threads: 1, strips: strips))
      let covariance = try StationaryCovariance(
        Self.strip(shape, strips), lags: kind.lags, strips: strips, scratch)
      let strip = try Tensor(Self.own(x, shape, strips))
      var y = try Tensor<Double>(count: strip.count)
      try y.withMemory { try covariance.apply({ 1 / (0.1 + $0) }, strip.view, into: $0, scratch) }
      return ([covariance.logDeterminant, covariance.trace { $0 }, Double(covariance.order)], y.elements)
    }
    let whole = try look(OneRank())
    let alone = try StationaryCovariance(shape, lags: kind.lags, Scratch())
    #expect(whole.values == [alone.logDeterminant, alone.trace { $0 }, Double(shape.count)])
    let parts = try ThreadRanks.run(ranks) { try look($0) }
    #expect(parts.flatMap(\.y) == whole.y)
    for part in parts { #expect(part.values == whole.values) }
  }

  /// Also behind others of the same stream, and of parts without values.
  @Test func signsAreThoseOfTheWhole() throws {
    let counts = [5, 0, 12, 7]
    func signs(_ count: Int, _ strips: Strips?) throws -> [[Double]] {
      var random = Philox(seed: 3, purpose: .test)
      _ = random.uniform()
      return try (0..<3).map { _ in
        var x = try Tensor<Double>(count: count)
        x.withMemory { $0.setSigns(&random, strips.map { ThreadPool(threads: 1, strips: $0) }) }
        return x.elements
      }
    }
    let whole = try signs(24, nil)
    let parts = try ThreadRanks.run(4) { try signs(counts[$0.rank], Strips(ranks: $0, height: 24)) }
    for k in 0..<3 { #expect(parts.flatMap { $0[k] } == whole[k]) }
    #expect(Set(whole.map(\.description)).count == 3)
  }

  @Test func skippedNumbersAreLeftOut() {
    for drawn in 0..<5 {
      for skipped in [0, 1, 2, 3, 7, 1000] {
        var (one, other) = (Philox(seed: 1, purpose: .test), Philox(seed: 1, purpose: .test))
        for _ in 0..<drawn {
          _ = one.next()
          _ = other.next()
        }
        for _ in 0..<skipped { _ = one.next() }
        other.skip(skipped)
        #expect(one.next() == other.next())
      }
    }
  }

  @Test func extentsAreThoseOfTheWhole() throws {
    let x: [[Double]] = [[3, -1], [], [7], [0, 2]]
    let found = try ThreadRanks.run(4) { ranks in
      let own = try Tensor(x[ranks.rank])
      return own.view.extent(ThreadPool(threads: 1, strips: Strips(ranks: ranks, height: 4)))
    }
    #expect(found.allSatisfy { $0 == (-1, 7) })
  }
}
