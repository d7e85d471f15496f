import AIPOImaging
import AIPOKernels
import AIPOTestFiles
import Testing

struct ImageMetricsTests {
  private func image(_ shape: [Int], _ k: Int) throws -> Tensor<Double> {
    let count = shape.reduce(1, *)
    return try Tensor(
      shape: shape,
      elements: (0..<count).map { i -> Double in
        let residue = i * i % (31 + k)
        return Double((i * 7919 + k * 104729 + residue) % 1000) / 999
      })
  }

  /// Made by scikit-image 0.26.0 (`structural_similarity` with the arguments of the documentation,
  /// `peak_signal_noise_ratio`) after clipping; the second image leaves [0, 1] on both sides.
  @Test(arguments: [
    ([1, 11, 11, 1], 0.9615590931445228, 17.60817537274338),
    ([1, 28, 28, 1], 0.9073186782408996, 17.688595108120595),
    ([1, 16, 23, 3], 0.9069438233993733, 17.69496068434417),
  ])
  func agreesWithScikitImage(shape: [Int], ssim: Double, psnr: Double) throws {
    let a = try image(shape, 1)
    let other = try image(shape, 2)
    let b = try Tensor(
      shape: shape, elements: (0..<a.count).map { 1.6 * (0.7 * a[flat: $0] + 0.3 * other[flat: $0]) - 0.3 })
    let foundSSIM = try #require(try ImageMetrics.ssim(b, truth: a)[0])
    let foundPSNR = try #require(try ImageMetrics.psnr(b, truth: a)[0])
    #expect(abs(foundSSIM - ssim) < 1e-12)
    #expect(abs(foundPSNR - psnr) < 1e-11)
    let single = try #require(
      try ImageMetrics.ssim(b.converted(to: Float.self), truth: a.converted(to: Float.self))[0])
    #expect(abs(single - ssim) < 1e-6)
  }

  /// Strips in which no window begins among them.
  @Test(arguments: [[1, 28, 17, 1], [1, 13, 12, 3], [1, 9, 12, 1]], [2, 3, 5])
  func figuresOfStripsAreThoseOfTheWhole(shape: [Int], ranks: Int) throws {
    let (a, b) = (try image(shape, 1), try image(shape, 2))
    func look(_ ranks: any Ranks) throws -> [Double?] {
      let strips = Strips(ranks: ranks, height: shape[1])
      func own(_ x: Tensor<Double>) throws -> Tensor<Double> {
        let (rows, length) = (strips.rows(), shape[2] * shape[3])
        return try Tensor(
          shape: [1, rows.count, shape[2], shape[3]],
          elements: Array(x.elements[rows.lowerBound * length..<rows.upperBound * length]))
      }
      let (a, b) = (try own(a), try own(b))
      return try ImageMetrics.psnr(a, truth: b, strips: strips)
        + ImageMetrics.ssim(a, truth: b, strips: strips)
        + ImageMetrics.rmse(a, truth: b, strips: strips)
    }
    let whole =
      try ImageMetrics.psnr(a, truth: b) + ImageMetrics.ssim(a, truth: b)
      + ImageMetrics.rmse(a, truth: b)
    #expect((whole[1] == nil) == (shape[1] < 11))
    for found in try ThreadRanks.run(ranks, { try look($0) }) { #expect(found == whole) }
  }

  @Test func undefinedCasesAreNil() throws {
    let small = try image([2, 10, 28, 1], 1)
    #expect(try ImageMetrics.ssim(small, truth: small) == [nil, nil])
    #expect(try ImageMetrics.psnr(small, truth: small) == [nil, nil])
    let whole = try image([1, 12, 12, 1], 1)
    #expect(try ImageMetrics.ssim(whole, truth: whole) == [1])
    var broken = whole
    broken[flat: 5] = .nan
    #expect(try ImageMetrics.psnr(broken, truth: whole) == [nil])
    #expect(try ImageMetrics.ssim(broken, truth: whole) == [nil])
    #expect(throws: TensorError.self) { try ImageMetrics.psnr(small, truth: whole) }
  }

  /// A constant error of δ is −20 log₁₀ δ dB, and images don't disturb each other.
  @Test func knownError() throws {
    let truth = try Tensor<Double>(shape: [2, 2, 2, 1], elements: [0.2, 0.4, 0.5, 0.6, 0, 0, 1, 1])
    let found = try Tensor<Double>(shape: [2, 2, 2, 1], elements: [0.3, 0.3, 0.4, 0.7, -5, 0.5, 7, 1])
    let psnr = try ImageMetrics.psnr(found, truth: truth)
    #expect(abs(psnr[0]! - 20) < 1e-12)
    #expect(abs(psnr[1]! - 12.041199826559248) < 1e-12)
  }
}
