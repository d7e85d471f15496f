import Foundation
import Testing

@testable import AIPOKernels

/// The spline of couplings against its definition and against differences.
@Suite struct SplineTests {
  private let spline = Kernel<Double>.Spline(bins: 5, bound: 1.5)
  private let height = 2, width = 3, channels = 2, stride = 3, images = 2
  private var rows: Int { images * height }
  private var headCount: Int { rows * width * channels * spline.headCount }

  private func shape<T>(_ parity: Int?) -> Kernel<T>.CouplingShape {
    .init(parity: parity, height: height, width: width, channels: channels, stride: stride)
  }

  /// Values about the bound, some of them beyond.
  private var x: [Double] { normals(rows * width * stride, seed: 2) }
  private var head: [Double] { normals(headCount, seed: 1) }

  private func move(
    _ direction: Kernel<Double>.Direction, parity: Int? = nil, head: [Double], _ x: [Double]
  ) throws -> (values: [Double], logDet: [Double], trace: TestArray<Double>) {
    let values = try TestArray<Double>(x)
    let sums = try TestArray<Double>([Double](repeating: .nan, count: rows))
    let trace = try TestArray<Double>(
      [Double](repeating: .nan, count: rows * width * channels * spline.traceCount))
    let head = try TestArray<Double>(head)
    // In pieces: a value doesn't depend on which rows go together.
    for range in [0..<1, 1..<rows] {
      Kernel.spline(
        spline, shape(parity), direction, rows: range, head: head.memory, values: values.memory,
        logDetRows: sums.memory, trace: trace.memory)
    }
    return (values.doubles, sums.doubles, trace)
  }

  @Test func zerosAreTheIdentity() throws {
    let found = try move(.forward, head: [Double](repeating: 0, count: headCount), x)
    #expect(largestDifference(found.values, x) < 1e-14)
    #expect(found.logDet.allSatisfy { abs($0) < 1e-13 })
  }

  @Test(arguments: [nil, 0, 1]) func theInverseComesBack(_ parity: Int?) throws {
    let there = try move(.forward, parity: parity, head: head, x)
    let back = try move(.inverse, parity: parity, head: head, there.values)
    #expect(largestDifference(back.values, x) < 1e-13)
    #expect(zip(there.logDet, back.logDet).allSatisfy { abs($0 + $1) < 1e-12 })
    for k in x.indices {
      let (pixel, channel) = k.quotientAndRemainder(dividingBy: stride)
      let (row, column) = pixel.quotientAndRemainder(dividingBy: width)
      let isMoved =
        channel < channels && abs(x[k]) < spline.bound
        && parity.map { (row % height + column) % 2 == $0 } ?? true
      // What isn't transformed, or lies beyond the bound, stays to the bit.
      #expect((there.values[k] != x[k]) == isMoved)
    }
  }

  /// The knots lie where the softmaxes put them, with the slopes that are given; between them y increases.
  @Test func knotsAndSlopes() throws {
    let numbers = normals(spline.headCount, seed: 5)
    func shares(_ from: Int) -> [Double] {
      let e = numbers[from..<from + 5].map { exp($0) }
      return e.map { 1e-3 + (1 - 5e-3) * $0 / e.reduce(0, +) }
    }
    let one = Kernel<Double>.CouplingShape(parity: nil, height: 1, width: 1, channels: 1, stride: 1)
    let head = try TestArray<Double>(numbers)
    func at(_ x: Double) throws -> (y: Double, logSlope: Double) {
      let value = try TestArray<Double>([x])
      let sum = try TestArray<Double>([0])
      Kernel.spline(
        spline, one, .forward, rows: 0..<1, head: head.memory, values: value.memory, logDetRows: sum.memory,
        trace: nil)
      return (value.doubles[0], sum.doubles[0])
    }
    var (x, y) = (-spline.bound, -spline.bound)
    for k in 0..<4 {
      x += 3 * shares(0)[k]
      y += 3 * shares(5)[k]
      let found = try at(x)
      let slope = 1e-3 + log1p(exp(numbers[10 + k] + log(exp(1 - 1e-3) - 1)))
      #expect(abs(found.y - y) < 1e-13 && abs(found.logSlope - log(slope)) < 1e-12)
    }
    var last = -spline.bound
    for k in 1..<3000 {
      let x = -spline.bound + 3 * Double(k) / 3000
      let found = try at(x)
      #expect(found.y > last)
      last = found.y
      let slope = (try at(x + 1e-6).y - at(x - 1e-6).y) / 2e-6
      #expect(abs(log(slope) - found.logSlope) < 2e-4)
    }
  }

  /// φ = Σ ȳy + Σ ℓ̄·log-det, by both directions, in values and numbers.
  @Test(arguments: [Kernel<Double>.Direction.forward, .inverse], [nil, 1])
  func gradientsAreThoseOfDifferences(_ direction: Kernel<Double>.Direction, _ parity: Int?) throws {
    let (g, lbar) = (normals(x.count, seed: 3), normals(images, seed: 4))
    func phi(_ head: [Double], _ x: [Double]) throws -> Double {
      let found = try move(direction, parity: parity, head: head, x)
      return zip(found.values, g).reduce(0) { $0 + $1.0 * $1.1 }
        + (0..<rows).reduce(0) { $0 + lbar[$1 / height] * found.logDet[$1] }
    }
    // To the fourth order: where a slope is small, the inverse curves too much for the second.
    func differences(_ at: [Double], _ phi: ([Double]) throws -> Double) rethrows -> [Double] {
      try at.indices.map { k in
        func across(_ step: Double) throws -> Double {
          var (up, down) = (at, at)
          up[k] += step
          down[k] -= step
          return (try phi(up) - phi(down)) / (2 * step)
        }
        return (4 * (try across(1e-5)) - (try across(2e-5))) / 3
      }
    }
    let cotangent = try TestArray<Double>(g)
    let headCotangent = try TestArray<Double>([Double](repeating: .nan, count: headCount))
    let trace = try move(direction, parity: parity, head: head, x).trace
    for range in [0..<3, 3..<rows] {
      Kernel.splineVJP(
        spline, shape(parity), direction, rows: range, trace: trace.memory,
        logDetCotangent: try TestArray<Double>(lbar).memory, cotangent: cotangent.memory,
        headCotangent: headCotangent.memory)
    }
    let (byX, byHead) = (try differences(x) { try phi(head, $0) }, try differences(head) { try phi($0, x) })
    #expect(largestDifference(cotangent.doubles, byX) < 1e-7)
    #expect(largestDifference(headCotangent.doubles, byHead) < 1e-7)
  }

  @Test func singlePrecisionAgrees() throws {
    let exact = try move(.forward, head: head, x)
    let values = try TestArray<Float>(x)
    Kernel<Float>.spline(
      .init(bins: 5, bound: 1.5), shape(nil), .forward, rows: 0..<rows,
      head: try TestArray<Float>(head).memory,
      values: values.memory, logDetRows: nil, trace: nil)
    #expect(largestDifference(values.doubles, exact.values) < 1e-6)
  }

  /// Far out nothing overflows, and what isn't a number stays none.
  @Test func extremes() throws {
    let wild = (0..<headCount).map { $0 % 3 == 0 ? 1e3 : $0 % 3 == 1 ? -1e3 : 300 }
    let there = try move(.forward, head: wild, x)
    #expect((there.values + there.logDet).allSatisfy { $0.isFinite })
    let back = try move(.inverse, head: wild, there.values)
    #expect((back.values + back.logDet).allSatisfy { $0.isFinite })
    var bad = x
    bad[0] = .nan
    let found = try move(.forward, head: head, bad)
    #expect(found.values[0].isNaN && found.logDet[0].isNaN && found.logDet[1].isFinite)
  }
}
