import AIPOFlowTesting
import AIPOKernels
import AIPOPriors
import AIPOProblems
import AIPOTestCases
import Testing

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// Odd, even, prime, a row, a column, one pixel, one and three channels.
private let shapes = [
  (1, 1, 1), (1, 1, 3), (1, 2, 1), (2, 1, 3), (1, 13, 1), (13, 1, 3), (1, 16, 3), (16, 1, 1), (2, 2, 1),
  (3, 4, 1),
  (4, 3, 3), (5, 5, 1), (7, 11, 1), (11, 7, 3), (8, 8, 1), (9, 6, 3), (17, 19, 1), (23, 5, 3), (12, 31, 1),
  (32, 27, 3),
].map { ImageShape(height: $0, width: $1, channels: $2) }

/// Values that a program in another language makes as easily.
private func picture(_ height: Int, _ width: Int) -> [Double] {
  (0..<height * width).map { k -> Double in
    let (i, j) = (k / width, k % width)
    let sum: Int = 7 * i * i + 3 * j * j + 5 * i * j + 11 * j
    return Double(sum % 17) / 16
  }
}

@Suite struct ConvolutionTests {
  private let image = picture(4, 5)
  private let shape = ImageShape(height: 4, width: 5, channels: 1)

  /// scipy 1.17: ndimage.correlate(x, [[1, −2, 3], [.5, 4, −1]], mode), whose nearest is replicate.
  @Test func correlateAsScipyDoes() throws {
    let kernel = try BlurKernel([1, -2, 3, 0.5, 4, -1], height: 2, width: 3)
    let inside = [0.71875, 1.96875, 3.6875, -0.96875, 5.71875, 2.25, 4.8125, 2.59375, 3.5]
    let expected: [(Boundary, [Double])] = [
      (
        .reflect,
        [
          1.75, 1.75, 2.4375, 2.0, 2.59375, 4.03125, 0.71875, 1.96875, 3.6875, 1.4375, 4.28125, -0.96875,
          5.71875,
          2.25, 2.6875, 2.4375, 4.8125, 2.59375, 3.5, 3.96875,
        ]
      ),
      (
        .replicate,
        [
          1.75, 1.75, 2.4375, 2.0, 2.59375, 4.03125, 0.71875, 1.96875, 3.6875, 1.4375, 4.28125, -0.96875,
          5.71875,
          2.25, 2.6875, 2.4375, 4.8125, 2.59375, 3.5, 3.96875,
        ]
      ),
      (
        .zero,
        [
          -0.875, 3.5, -0.125, 1.8125, 2.03125, 3.8125, 0.71875, 1.96875, 3.6875, 0.125, 3.5, -0.96875,
          5.71875, 2.25,
          3.125, 1.375, 4.8125, 2.59375, 3.5, 3.34375,
        ]
      ),
      (
        .circular,
        [
          -0.15625, 4.875, 2.125, 2.5, 3.84375, 4.25, 0.71875, 1.96875, 3.6875, -0.3125, 3.71875, -0.96875,
          5.71875,
          2.25, 3.75, 2.15625, 4.8125, 2.59375, 3.5, 4.65625,
        ]
      ),
      (.valid, inside),
    ]
    for (boundary, values) in expected {
      for path in [ConvolutionMap.Path.direct, .fourier] {
        let y = try ConvolutionMap(shape, kernel: kernel, boundary: boundary, path: path).apply(image)
        #expect(distance(y, values) < 1e-13, "\(boundary) \(path)")
      }
    }
    // gaussian_filter(x, 0.6, mode="reflect")
    let smooth = try ConvolutionMap(shape, kernel: .gaussian(deviation: 0.6)).apply(image)
    let row = [0.42662221937216, 0.44773419666862, 0.32605721657546, 0.61019462752928, 0.26464117394429]
    #expect(distance(Array(smooth[5..<10]), row) < 1e-13)
  }

  /// The three ways to one value, adjoint and the same bits on any threads, at every shape and boundary.
  @Test func waysAgreeAtEveryShape() throws {
    for shape in shapes {
      for boundary in Boundary.allCases {
        for (height, width) in [(1, 1), (3, 3), (2, 5), (4, 4), (6, 1), (9, 8)] {
          if boundary == .valid, height > shape.height || width > shape.width { continue }
          let column = randomVector(height, seed: 1)
          let row = randomVector(width, seed: 2)
          let product = try BlurKernel(column: column, row: row)
          let any = try BlurKernel(randomVector(height * width, seed: 3), height: height, width: width)
          let x = randomVector(shape.count, seed: 4)
          for (kernel, paths) in [(product, [ConvolutionMap.Path.separable, .fourier]), (any, [.fourier])] {
            let direct = try ConvolutionMap(shape, kernel: kernel, boundary: boundary, path: .direct)
            let u = randomVector(direct.output.count, seed: 5)
            let (y, g) = (try direct.apply(x), try direct.adjoint(u))
            #expect(try MapChecks.adjointMismatch(direct) <= 1e-12)
            for path in paths {
              let other = try ConvolutionMap(shape, kernel: kernel, boundary: boundary, path: path)
              #expect(other.path == path && other.output == direct.output)
              let label = "\(shape) \(boundary) \(height)x\(width) \(path)"
              let scale = norm(kernel.values)
              #expect(try distance(other.apply(x), y) <= 1e-12 * scale * norm(x), "\(label)")
              #expect(try distance(other.adjoint(u), g) <= 1e-12 * scale * norm(u), "\(label)")
              #expect(try MapChecks.adjointMismatch(other) <= 1e-12, "\(label)")
              #expect(try MapChecks.normalMismatch(other) <= 1e-12, "\(label)")
            }
          }
        }
      }
    }
  }

  /// The same bits on any number of threads where the work is split.
  @Test func largeImagesOnSeveralThreads() throws {
    let shape = ImageShape(height: 113, width: 109, channels: 3)
    let x = try Tensor(randomVector(shape.count, seed: 4))
    for boundary in Boundary.allCases {
      for path in [ConvolutionMap.Path.direct, .separable, .fourier] {
        let map = try ConvolutionMap(shape, kernel: .gaussian(deviation: 0.8), boundary: boundary, path: path)
        #expect(try MapChecks.differingValues(map, at: x) == 0, "\(boundary) \(path)")
      }
    }
    let maps: [any LinearMap] = [
      try Resampling(shape, factor: 3), try Subsampling(shape, factor: 2),
      try ColourFilterArray(shape, pattern: bayer), try ChannelMixing.grey(shape),
    ]
    for map in maps { #expect(try MapChecks.differingValues(map, at: x) == 0) }
  }

  /// `‖A‖²` and what it is of the spectrum, against a dense decomposition.
  @Test func spectrumAgainstTheDenseMatrix() throws {
    for shape in testShapes {
      let map = try ConvolutionMap(shape, kernel: sharpKernel(4, 3), boundary: .circular)
      let matrix = try map.matrix()
      let eigenvalues = try matrix.transposedTimes(matrix).symmetricEigen().values
      let spectrum = try #require(map.nearNormal)
      #expect((spectrum.extent.upperBound / eigenvalues.last! - 1).magnitude < 1e-8)
      #expect((spectrum.extent.lowerBound / eigenvalues[0] - 1).magnitude < 1e-8)
      let trace = eigenvalues.reduce(0, +)
      #expect((spectrum.mean() * Double(shape.count) / trace - 1).magnitude < 1e-12)
    }
  }

  @Test func kernels() throws {
    // A motion along rows or columns is a mean.
    let along = try BlurKernel.motion(length: 5, angle: 0)
    #expect(along.height == 1 && distance(along.values, [Double](repeating: 0.2, count: 5)) < 1e-15)
    let up = try BlurKernel.motion(length: 5, angle: 90)
    #expect(up.width == 1 && distance(up.values, along.values) < 1e-15)
    // Counterclockwise: 30° goes to the upper right.
    let slanted = try BlurKernel.motion(length: 9, angle: 30)
    let center = slanted.height / 2 * slanted.width + slanted.width / 2
    func weight(_ y: Int, _ x: Int) -> Double { slanted.values[center + y * slanted.width + x] }
    #expect(weight(-2, 3) > 0 && weight(2, 3) == 0 && weight(2, -3) == weight(-2, 3))
    // Half a pixel's length is left: MATLAB's fspecial("motion", 2, 0).
    #expect(distance(try BlurKernel.motion(length: 2, angle: 0).values, [0.25, 0.5, 0.25]) < 1e-15)
    // The parts of pixels that a disk covers add up to its area, and its pixels inside have 1.
    for radius in [0.3, 0.5, 1, 2.6, 7] {
      let disk = try BlurKernel.disk(radius: radius)
      #expect((disk.sum - 1).magnitude < 1e-13)
      let middle = disk.values[disk.height / 2 * disk.width + disk.width / 2]
      let area = Double.pi * radius * radius
      #expect((middle - (radius < 0.5 ? 1 : 1 / area)).magnitude < 1e-12 || radius == 0.5)
    }
    // fspecial("disk", 1) in MATLAB's documentation.
    let one = try BlurKernel.disk(radius: 1).values
    #expect(
      distance(
        one.map { ($0 * 1e4).rounded() / 1e4 },
        [0.025, 0.1453, 0.025, 0.1453, 0.3183, 0.1453, 0.025, 0.1453, 0.025]) < 3e-4)
    #expect(try BlurKernel.gaussian(deviation: 2).height == 17)
    for wrong in [0, -1, .nan, .infinity] {
      #expect(throws: ProblemError.self) { try BlurKernel.gaussian(deviation: wrong) }
      #expect(throws: ProblemError.self) { try BlurKernel.disk(radius: wrong) }
      #expect(throws: ProblemError.self) { try BlurKernel.motion(length: wrong, angle: 0) }
    }
    #expect(throws: ProblemError.self) { try BlurKernel([1, .nan], height: 1, width: 2) }
    #expect(throws: ProblemError.self) {
      try ConvolutionMap(
        ImageShape(height: 2, width: 9, channels: 1), kernel: .box(size: 3), boundary: .valid)
    }
  }
}

@Suite struct ResamplingTests {
  private let image = picture(7, 9)
  private let shape = ImageShape(height: 7, width: 9, channels: 1)

  /// Made by a program of its own after the documentation of MATLAB's imresize, and compared inside with Pillow 11.
  @Test func asMATLABDoes() throws {
    let expected: [(Int, ResamplingKernel, [Double])] = [
      (
        2, .bicubic,
        [
          0.36644077301, 0.408041000366, 0.45402431488, 0.431477546692, 0.458108901978, 0.538215637207,
          0.759828567505, 0.548125267029, 0.458841323853, 0.526208877563, 0.565238952637, 0.585771560669,
          0.501625061035, 0.453671455383, 0.444124221802, 0.611967086792, 0.420207977295, 0.380878448486,
          0.53150177002, 0.468799591064,
        ]
      ),
      (
        2, .bilinear,
        [
          0.384765625, 0.4326171875, 0.45703125, 0.4375, 0.458984375, 0.5419921875, 0.6923828125,
          0.5439453125,
          0.4677734375, 0.5078125, 0.56640625, 0.5771484375, 0.5, 0.4619140625, 0.453125, 0.591796875,
          0.455078125,
          0.412109375, 0.5078125, 0.47265625,
        ]
      ),
      (
        2, .box,
        [
          0.46875, 0.359375, 0.421875, 0.390625, 0.375, 0.484375, 0.828125, 0.546875, 0.4375, 0.5625,
          0.546875,
          0.546875, 0.453125, 0.53125, 0.53125, 0.65625, 0.53125, 0.3125, 0.53125, 0.4375,
        ]
      ),
      (
        3, .bicubic,
        [
          0.436271147691, 0.497285093736, 0.463820301783, 0.60317596403, 0.576731824417, 0.441234186862,
          0.54714410913,
          0.428326474623, 0.493408017071,
        ]
      ),
      (
        3, .bilinear,
        [
          0.452932098765, 0.47762345679, 0.472222222222, 0.590277777778, 0.573302469136, 0.447530864198,
          0.543209876543,
          0.452932098765, 0.489969135802,
        ]
      ),
      (
        3, .box,
        [
          0.388888888889, 0.534722222222, 0.513888888889, 0.569444444444, 0.576388888889, 0.416666666667,
          0.506944444444, 0.423611111111, 0.527777777778,
        ]
      ),
    ]
    for (factor, kernel, values) in expected {
      let y = try Resampling(shape, factor: factor, kernel: kernel).apply(image)
      #expect(distance(y, values) < 1e-11, "\(factor) \(kernel)")
    }
  }

  @Test func adjointsAtEveryShape() throws {
    for shape in shapes {
      for factor in 1...8 {
        for kernel in [ResamplingKernel.box, .bilinear, .bicubic, .gaussian(deviation: 1.3)] {
          for boundary in [Boundary.reflect, .circular, .zero, .replicate] {
            let map = try Resampling(shape, factor: factor, kernel: kernel, boundary: boundary)
            #expect(map.output.height == (shape.height + factor - 1) / factor)
            #expect(try MapChecks.adjointMismatch(map) <= 1e-12, "\(shape) \(factor) \(kernel) \(boundary)")
            // A constant stays, but where zeros come in.
            let constant = try map.apply([Double](repeating: 0.7, count: shape.count))
            #expect(boundary == .zero || constant.allSatisfy { ($0 - 0.7).magnitude < 1e-14 })
          }
        }
      }
    }
  }

  /// A Gaussian around every k-th place is a blur, and then every k-th pixel. With phase 7.5 it has 16 weights of deviation 2
  /// from the place itself on.
  @Test func gaussiansAreBlursAndEveryPixel() throws {
    let shape = ImageShape(height: 21, width: 24, channels: 3)
    let x = randomVector(shape.count, seed: 6)
    for boundary in [Boundary.reflect, .circular, .zero, .replicate] {
      let whole = try Resampling(
        shape, factor: 3, kernel: .gaussian(deviation: 1.2), phase: 1, boundary: boundary)
      let steps = try ComposedMap(
        Subsampling(shape, factor: 3, first: 1),
        after: ConvolutionMap(shape, kernel: .gaussian(deviation: 1.2), boundary: boundary))
      #expect(try distance(whole.apply(x), steps.apply(x)) < 1e-13 * norm(x))
    }
    let shifted = try Resampling(
      shape, factor: 4, kernel: .gaussian(deviation: 2), phase: 7.5, boundary: .circular)
    let line = (0..<16).map { (i: Int) -> Double in
      let offset = Double(i) - 7.5
      return exp(-offset * offset / 8)
    }
    let sum = line.reduce(0, +)
    let y = try shifted.apply(x)
    for (i, j, c) in [(0, 0, 0), (3, 2, 1), (5, 5, 2)] {
      var expected = 0.0
      for a in 0..<16 {
        for b in 0..<16 {
          let row: Int = (4 * i + a) % 21
          let column: Int = (4 * j + b) % 24
          expected += line[a] * line[b] / sum / sum * x[(row * 24 + column) * 3 + c]
        }
      }
      let found = y[(i * 6 + j) * 3 + c]
      #expect((found - expected).magnitude < 1e-14 * norm(x))
    }
  }

  /// The spectrum that is near AᵀA is its mean over all shifts of the grid.
  @Test func nearSpectrum() throws {
    let shape = ImageShape(height: 12, width: 18, channels: 1)
    for kernel in [ResamplingKernel.bicubic, .box, .gaussian(deviation: 1.1)] {
      let phase = (kernel == .gaussian(deviation: 1.1)) ? 1.0 : 0.5
      let map = try Resampling(shape, factor: 2, kernel: kernel, phase: phase, boundary: .circular)
      let x = randomVector(shape.count, seed: 7)
      var mean = [Double](repeating: 0, count: shape.count)
      for (dy, dx) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        func place(_ i: Int) -> Int {
          let row: Int = (i / 18 + dy) % 12
          let column: Int = (i % 18 + dx) % 18
          return row * 18 + column
        }
        let moved = (0..<shape.count).map { x[place($0)] }
        let product = try map.adjoint(map.apply(moved))
        for i in 0..<shape.count { mean[place(i)] += product[i] / 4 }
      }
      let near = try #require(map.nearNormal)
      let found = try x.asVector { x in try written(shape.count) { try near.apply({ $0 }, x, into: $0, $1) } }
      #expect(distance(found, mean) < 1e-13 * norm(x))
    }
  }

  @Test func colourFilterArrays() throws {
    let shape = ImageShape(height: 3, width: 3, channels: 3)
    let x = (0..<27).map { Double($0) }
    // Red at even rows and columns, blue at odd ones, green between.
    #expect(try ColourFilterArray(shape, pattern: bayer).apply(x) == [0, 4, 6, 10, 14, 16, 18, 22, 24])
    #expect(ColourPattern("RG/GB")?.description == "RGGB")
    #expect(ColourPattern("RGB/GBR")?.description == "RGB/GBR")
    for wrong in ["", "RG", "RGGX", "RG/G", "R//G", "RGBRGB"] {
      #expect(ColourPattern(wrong) == nil, "\(wrong)")
    }
    #expect(throws: ProblemError.self) {
      try ColourFilterArray(ImageShape(height: 3, width: 3, channels: 1), pattern: bayer)
    }
    let grey = try ChannelMixing.grey(ImageShape(height: 1, width: 2, channels: 3)).apply([1, 0, 0, 0, 1, 0])
    #expect(grey == [0.299, 0.587])
  }
}
