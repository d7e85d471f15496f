import AIPOFlows
import AIPOKernels
import Testing

/// Draws of a flow whose couplings scale by almost nothing, as an overfitted one's do far from the data.
@Suite struct DrawTests {
  /// Two levels of four steps, of which every coupling has s = −60: a scale of e⁻⁵⁸, and the bias.
  private func narrow(scaleBias: Double) throws -> Flow<Float> {
    let flow = try Flow<Float>(
      spec: .glow(
        levels: 2, steps: 4, hidden: 5, transform: .affine(AffineTransform(.sigmoid, bias: scaleBias))),
      imageShape: ImageShape(height: 8, width: 8, channels: 1), seed: 1, pool: ThreadPool(threads: 1))
    let tensors = flow.namedTensors.map { tensor -> NamedTensor in
      guard tensor.name.hasSuffix(".bias"), tensor.name.contains(".net."), tensor.count != 5 else {
        return tensor
      }
      // Shifts first, then scales.
      let half = tensor.count / 2
      return NamedTensor(
        name: tensor.name, shape: tensor.shape,
        scalars: (0..<tensor.count).map { $0 < half ? Float(0) : -60 })
    }
    try flow.load(tensors)
    return flow
  }

  @Test func aBiasBoundsDraws() throws {
    // e⁵⁸ a coupling, eight of them, is beyond every float.
    #expect(try narrow(scaleBias: 0).sample(indices: 0..<8, seed: 0).finiteRows.isEmpty)
    // 10 a coupling, of which a value meets at most four in its level and four in the level below; rotations between.
    let draws = try narrow(scaleBias: 0.1).sample(indices: 0..<8, seed: 0)
    #expect(draws.finiteRows == Array(0..<8))
    let largest = draws.elements.reduce(0) { max($0, $1.magnitude) }
    #expect(largest > 1e3 && largest < 1e10)
  }

  /// Rows that don't come back are named, and no others.
  @Test func rowsThatDontComeBack() throws {
    // Scales of about 1.
    let flow = try narrow(scaleBias: 1)
    var random = Philox(seed: 3, purpose: .test)
    let latents = try Tensor<Float>(shape: [3, 64], elements: (0..<192).map { _ in Float(random.normal()) })
    let images = try flow.decode(latents).images
    #expect(try flow.rowsThatDontComeBack(images: images, latents: latents) == [])
    var wrong = latents
    wrong[flat: 64] += 1
    #expect(try flow.rowsThatDontComeBack(images: images, latents: wrong) == [1])
    wrong.fill(rows: [2], with: .nan)
    #expect(try flow.rowsThatDontComeBack(images: images, latents: wrong) == [1, 2])
  }

  @Test func finiteRowsAndFill() throws {
    var a = try Tensor<Double>(shape: [3, 2], elements: [1, 2, .nan, 4, 5, .infinity])
    #expect(a.finiteRows == [0])
    a.fill(rows: [1, 2], with: 7)
    #expect(a.elements == [1, 2, 7, 7, 7, 7] && a.finiteRows == [0, 1, 2])
  }
}
