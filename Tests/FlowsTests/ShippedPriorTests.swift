import AIPOFlows
import AIPOKernels
import Foundation
import Testing

/// The priors in `Models`: trained parameters are harder on inverse, log-determinant and single precision than random
/// ones are.
@Suite(.serialized) struct ShippedPriorTests {
  static let names = ["fashion-mnist-glow", "fashion-mnist-realnvp"]
  static let folder = URL(filePath: #filePath).deletingLastPathComponent()
    .appending(path: "../../Models").standardizedFileURL

  private func model(_ name: String) throws -> FlowModel {
    try FlowModel.load(path: Self.folder.appending(path: name + ".safetensors").path)
  }

  /// The 100 shipped test images.
  private func testImages() throws -> TrainingImages {
    let bytes = [UInt8](try Data(contentsOf: Self.folder.appending(path: "fashion-mnist-test-100.idx")))
    // The header: magic 0x803, then 100, 28 and 28, big-endian.
    try #require(Array(bytes.prefix(16)) == [0, 0, 8, 3, 0, 0, 0, 100, 0, 0, 0, 28, 0, 0, 0, 28])
    return try TrainingImages(
      shape: ImageShape(height: 28, width: 28, channels: 1), pixels: Array(bytes.dropFirst(16)))
  }

  /// Images in the middle half of their bins, away from the edges by fixed noise, exact in single precision.
  private func points(_ indices: Range<Int>, _ dequantization: Dequantization) throws -> Tensor<Double> {
    let images = try testImages()
    var values: [Double] = []
    for i in indices {
      var random = Philox(seed: 1, index: UInt64(i), purpose: .test)
      for pixel in images.pixels[i * 784..<(i + 1) * 784] {
        let shift = (random.uniform() - 0.5) / 2
        values.append(Double(Float(dequantization.middle(pixel) + shift / Double(dequantization.binCount))))
      }
    }
    return try Tensor(shape: [indices.count, 28, 28, 1], elements: values)
  }

  private func largest(_ a: [Double], _ b: [Double]) -> Double {
    zip(a, b).reduce(a.count == b.count ? 0 : .infinity) { worst, pair in
      let difference = (pair.0 - pair.1).magnitude
      return difference.isFinite ? max(worst, difference) : .infinity
    }
  }

  /// The log-determinant that `encode` gives, and that log p implies, is that of the 784 × 784 Jacobian of `encode` by
  /// central differences.
  @Test(arguments: names) func logDeterminantIsTheJacobians(_ name: String) throws {
    let model = try model(name)
    let flow = try model.makeFlow(Double.self)
    let d = flow.dimension
    let x = try points(0..<60, model.dequantization).rows([3, 41])
    let (latents, logDet) = try flow.encode(x)
    let logProb = try flow.logProb(x)
    let base = try flow.baseLogProbWithGradient(latents).logProb
    let step = 1e-7
    for image in 0..<2 {
      var columns = try Matrix(rows: d, columns: d)
      let part = 98
      for first in stride(from: 0, to: d, by: part) {
        var moved = try x.rows([Int](repeating: image, count: 2 * part))
        for j in 0..<part {
          moved[flat: j * d + first + j] += step
          moved[flat: (part + j) * d + first + j] -= step
        }
        let found = try flow.encode(moved).latents.elements
        columns.withMutableColumns { columns in
          for j in 0..<part {
            for i in 0..<d {
              // The step as it was rounded.
              let width = moved[flat: j * d + first + j] - moved[flat: (part + j) * d + first + j]
              columns[(first + j) * d + i] = (found[j * d + i] - found[(part + j) * d + i]) / width
            }
          }
        }
      }
      let dense = try invertMatrix(columns.columnMajor, size: d).logAbsDet
      #expect((logDet[image] - dense).magnitude <= 1e-5 * dense.magnitude, "\(logDet[image]), dense \(dense)")
      let implied = logProb[image] - base[image]
      #expect((implied - dense).magnitude <= 1e-5 * dense.magnitude, "\(implied), dense \(dense)")
    }
  }

  @Test(arguments: names) func decodeInvertsEncode(_ name: String) throws {
    let model = try model(name)
    let double = try model.makeFlow(Double.self)
    let x = try points(0..<60, model.dequantization)
    let there = try double.encode(x)
    let back = try double.decode(there.latents)
    #expect(largest(back.images.elements, x.elements) <= 1e-9)
    #expect(zip(there.logDet, back.logDet).allSatisfy { ($0 + $1).magnitude <= 1e-9 * $0.magnitude })
    let single = try model.makeFlow(Float.self)
    let narrow = try x.converted(to: Float.self)
    let again = try single.decode(try single.encode(narrow).latents).images
    #expect(largest(again.elements.map { Double($0) }, x.elements) <= 1e-4)
  }

  @Test(arguments: names) func singlePrecisionAgrees(_ name: String) throws {
    let model = try model(name)
    let x = try points(0..<60, model.dequantization)
    let double = try model.makeFlow(Double.self).logProb(x)
    let single = try model.makeFlow(Float.self).logProb(try x.converted(to: Float.self))
    for (double, single) in zip(double, single) {
      #expect((double - single).magnitude <= 1e-5 * double.magnitude, "\(double), single \(single)")
    }
  }

  /// Recomputed and kept inputs give the same gradient on images of the kind that the prior knows.
  @Test(arguments: names) func gradientsAgree(_ name: String) throws {
    let model = try model(name)
    let flow = try model.makeFlow(Double.self)
    let x = try points(0..<8, model.dequantization)
    flow.gradientMemory = .kept
    let kept = try flow.evaluateWithGradient(x).gradient.elements
    flow.gradientMemory = .flat
    let flat = try flow.evaluateWithGradient(x).gradient.elements
    let scale = kept.reduce(1) { max($0, $1.magnitude) }
    #expect(largest(kept, flat) <= 1e-8 * scale)
  }

  /// The figures in the file are those of the parameters in it: the 100 shipped images, which are among the test images,
  /// give their bits/dim within four standard errors.
  @Test(arguments: names) func figuresAreTheParameters(_ name: String) throws {
    let model = try model(name)
    let test = try #require(model.figures.test)
    let validation = try #require(model.figures.validation)
    let found = try Evaluation.measure(
      model.makeFlow(Float.self), on: try testImages(), dequantization: model.dequantization)
    #expect(found.images == 100 && test.images == 10_000)
    let errors = [try #require(found.standardError), try #require(test.standardError)]
    let error = errors.reduce(0) { $0 + $1 * $1 }.squareRoot()
    #expect((found.bitsPerDim - test.bitsPerDim).magnitude <= 4 * error, "\(found), stored \(test)")
    #expect((test.bitsPerDim - validation.bitsPerDim).magnitude <= 0.1)
  }
}
