import Foundation
import Testing

@testable import AIPOKernels

/// Kernels that move and add up values.
@Suite struct MovingTests {
  @Test(arguments: [(2, 2, 1), (4, 6, 3), (8, 2, 17)])
  func squeeze(_ h: Int, _ w: Int, _ c: Int) throws {
    let shape = ImageShape(height: h, width: w, channels: c)
    let images = 2
    let values = (0..<images * shape.count).map { Double($0) }
    let x = try TestArray<Float>(values)
    let z = try TestArray<Float>([Double](repeating: -1, count: values.count))
    let rows = images * h / 2
    for range in [0..<1, 1..<rows] { Kernel.squeeze(x.memory, shape: shape, rows: range, into: z.memory) }
    for r in 0..<rows {
      for j in 0..<w / 2 {
        for k in 0..<c {
          for dy in 0..<2 {
            for dx in 0..<2 {
              let to = (r * (w / 2) + j) * 4 * c + 4 * k + 2 * dy + dx
              #expect(z.doubles[to] == values[((2 * r + dy) * w + 2 * j + dx) * c + k])
            }
          }
        }
      }
    }
    let back = try TestArray<Float>([Double](repeating: -1, count: values.count))
    for range in [1..<rows, 0..<1] {
      Kernel.unsqueeze(z.memory, shape: shape, rows: range, into: back.memory)
    }
    #expect(back.doubles == values)
  }

  @Test func copyingChannels() throws {
    let x = try TestArray<Double>((0..<20).map { Double($0) })
    let y = try TestArray<Double>([Double](repeating: -1, count: 12))
    Kernel.copyChannels(2, pixels: 4, from: x.memory.from(1), stride: 5, to: y.memory, stride: 3)
    #expect(y.doubles == [1, 2, -1, 6, 7, -1, 11, 12, -1, 16, 17, -1])
  }

  @Test(arguments: [1, 3, 300]) func pixelsAreSummed(channels: Int) throws {
    let (pixels, stride) = (5, channels + 2)
    let x = try TestArray<Double>((0..<pixels * stride).map { Double($0) })
    let sum = try TestArray<Double>([Double](repeating: 1, count: channels))
    Kernel.sumPixels(x.memory, pixels: pixels, channels: channels, stride: stride, into: sum.memory)
    #expect(sum.doubles == (0..<channels).map { Double(1 + 10 * stride + pixels * $0) })
  }

  @Test func checkerboards() throws {
    let shape = ImageShape(height: 3, width: 5, channels: 2)
    let x = normals(2 * shape.count, seed: 1)
    for parity in 0...1 {
      for adding in [false, true] {
        let y = try TestArray<Double>([Double](repeating: 3, count: x.count))
        for rows in [0..<2, 2..<6] {
          Kernel.checkerboard(
            try TestArray<Double>(x).memory, parity: parity, shape: shape, rows: rows, adding: adding,
            into: y.memory)
        }
        for i in x.indices {
          let (row, column) = (i / 10 % 3, i / 2 % 5)
          let kept = (row + column) % 2 == parity ? x[i] : 0
          #expect(y.doubles[i] == (adding ? 3 + kept : kept))
        }
      }
    }
  }

  @Test(arguments: [0, 1, 3, 4, 5, 1001])
  func sums(_ count: Int) throws {
    let (x, y) = (normals(count, seed: 1), normals(count, seed: 2))
    let expected = zip(x, y).reduce(0.0) { $0 + $1.0 * $1.1 }
    let found = Kernel<Float>.dot(try TestArray<Float>(x).memory, try TestArray<Float>(y).memory)
    #expect(abs(found - expected) <= 1e-12 * Double(count + 1))
    let sum = try TestArray<Double>(y)
    Kernel.add(try TestArray<Double>(x).memory, to: sum.memory)
    #expect(sum.doubles == zip(x, y).map { $1 + $0 })
  }
}
