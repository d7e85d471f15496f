/// A convolution in plain Swift and double precision, by its definition, for n images; with the sum of the magnitudes
/// of what is added up for each value, which bounds the rounding of any order of summation.
struct ConvolutionOracle {
  var images: Int
  var h: Int
  var w: Int
  var ci: Int
  var co: Int
  var k: Int
  var pad: Double

  var pixels: Int { images * h * w }
  var rows: Int { images * h }

  struct Sums {
    var values: [Double]
    var magnitudes: [Double]

    init(count: Int) {
      values = [Double](repeating: 0, count: count)
      magnitudes = values
    }

    mutating func add(_ term: Double, at i: Int) {
      values[i] += term
      magnitudes[i] += term.magnitude
    }
  }

  /// Calls `body(pixel, neighbour or nil outside the image, tap)` for every pixel and tap.
  private func eachTap(_ body: (_ pixel: Int, _ source: Int?, _ tap: Int) -> Void) {
    let half = k / 2
    for n in 0..<images {
      for i in 0..<h {
        for j in 0..<w {
          for dy in 0..<k {
            for dx in 0..<k {
              let (y, x) = (i + dy - half, j + dx - half)
              let inside = y >= 0 && y < h && x >= 0 && x < w
              body((n * h + i) * w + j, inside ? (n * h + y) * w + x : nil, dy * k + dx)
            }
          }
        }
      }
    }
  }

  func forward(_ x: [Double], _ weights: [Double], _ bias: [Double]) -> Sums {
    var sums = Sums(count: pixels * co)
    for p in 0..<pixels { for o in 0..<co { sums.add(bias[o], at: p * co + o) } }
    eachTap { p, source, tap in
      for c in 0..<ci {
        let value = source.map { x[$0 * ci + c] } ?? pad
        for o in 0..<co { sums.add(value * weights[(tap * ci + c) * co + o], at: p * co + o) }
      }
    }
    return sums
  }

  func adjoint(_ g: [Double], _ weights: [Double]) -> Sums {
    var sums = Sums(count: pixels * ci)
    eachTap { p, source, tap in
      guard let source else { return }
      for c in 0..<ci {
        for o in 0..<co { sums.add(g[p * co + o] * weights[(tap * ci + c) * co + o], at: source * ci + c) }
      }
    }
    return sums
  }

  func weightGradient(_ x: [Double], _ g: [Double]) -> (weights: Sums, bias: Sums) {
    var sums = Sums(count: k * k * ci * co)
    var bias = Sums(count: co)
    for p in 0..<pixels { for o in 0..<co { bias.add(g[p * co + o], at: o) } }
    eachTap { p, source, tap in
      for c in 0..<ci {
        let value = source.map { x[$0 * ci + c] } ?? pad
        for o in 0..<co { sums.add(value * g[p * co + o], at: (tap * ci + c) * co + o) }
      }
    }
    return (sums, bias)
  }
}
