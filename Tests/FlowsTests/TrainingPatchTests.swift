import AIPOKernels
import Foundation
import Testing

@testable import AIPOFlows

/// Patches that are cut out of pictures of any sizes.
@Suite struct TrainingPatchTests {
  let patch = ImageShape(height: 3, width: 4, channels: 1)
  let sizes = [(3, 4), (5, 6), (3, 7), (8, 4)].map { ImageShape(height: $0, width: $1, channels: 1) }

  /// Pictures whose every pixel has a value of its own, so that a patch tells where it is from.
  private func pictures() throws -> TrainingImages {
    let count = sizes.reduce(0) { $0 + $1.count }
    return try TrainingImages(patch: patch, of: sizes, pixels: (0..<count).map { UInt8($0) })
  }

  /// Picture, row and column of a patch; nil where it is none.
  private func place(_ values: [UInt8]) -> [Int]? {
    var offset = 0
    for (k, size) in sizes.enumerated() {
      defer { offset += size.count }
      let first = Int(values[0]) - offset
      guard first >= 0, first < size.count else { continue }
      let (top, left) = (first / size.width, first % size.width)
      let expected = (0..<patch.count).map { i in
        UInt8(offset + (top + i / patch.width) * size.width + left + i % patch.width)
      }
      return left + patch.width <= size.width && expected == values ? [k, top, left] : nil
    }
    return nil
  }

  private func batches(_ images: TrainingImages, seed: UInt64 = 3) -> TrainingBatches {
    TrainingBatches(
      images: images, indices: [0, 1, 2, 3], size: 4, seed: seed, dequantization: .init(bits: 8),
      augmentation: .init())
  }

  private func patches(_ batch: Tensor<Double>) -> [[UInt8]] {
    (0..<batch.shape[0]).map { k in
      batch.elements[(k * patch.count)..<((k + 1) * patch.count)].map { UInt8($0 * 256) }
    }
  }

  @Test func everyPlaceOfEveryPictureIsAsLikely() throws {
    var stream = batches(try pictures())
    var counts: [[Int]: Int] = [:]
    for step in 0..<900 {
      for values in patches(try stream.batch(step: step, as: Double.self).images) {
        counts[try #require(place(values), "\(values)"), default: 0] += 1
      }
    }
    // Each picture once an epoch of four, whatever its size; its places share these 900.
    for (k, size) in sizes.enumerated() {
      let places = (size.height - patch.height + 1) * (size.width - patch.width + 1)
      let found = counts.filter { $0.key[0] == k }
      #expect(found.count == places)
      #expect(found.values.reduce(0, +) == 900)
      let expected = 900 / Double(places)
      for count in found.values { #expect(abs(Double(count) - expected) <= 5 * expected.squareRoot()) }
    }
    // A step's patches are a function of seed and step.
    var again = batches(try pictures())
    #expect(try again.batch(step: 17, as: Double.self) == stream.batch(step: 17, as: Double.self))
    var other = batches(try pictures(), seed: 4)
    #expect(try other.batch(step: 17, as: Double.self) != stream.batch(step: 17, as: Double.self))
  }

  @Test func fixedPatchesStayWhereTheyAre() throws {
    let images = try pictures()
    // 1 + 1·1 + 1·1 + 2·1 lie side by side in four pictures: one each. With small patches it is the limit that counts.
    let one = images.fixedPatches(atMost: 100, seed: 1)
    #expect(one.count == 4 && (0..<4).map(one.picture) == [0, 1, 2, 3])
    let small = try TrainingImages(
      patch: ImageShape(height: 1, width: 2, channels: 1), of: sizes, pixels: images.pixels)
    #expect(small.fixedPatches(atMost: 1000, seed: 1).count == 4 * ((6 + 15 + 9 + 16) / 4))
    let fixed = small.fixedPatches(atMost: 22, seed: 1)
    #expect(fixed.count == 20 && fixed.picture(of: 4) == 0 && fixed.picture(of: 5) == 1)
    #expect(small.fixedPatches(atMost: 22, seed: 1).pixels == fixed.pixels)
    #expect(small.fixedPatches(atMost: 22, seed: 2).pixels != fixed.pixels)
    // Those of a picture are the same beside other pictures.
    let part = small.subset([2]).fixedPatches(atMost: 5, seed: 1)
    #expect(part.count == 5 && part.pixels == Array(fixed.pixels[20..<30]))
    // Images that are no larger are left as they are.
    let whole = try TrainingImages(shape: patch, pixels: Array(images.pixels[..<24]))
    #expect(whole.fixedPatches(atMost: 1, seed: 9).pixels == whole.pixels)
  }

  /// Patches of one picture are alike; only the pictures are independent.
  @Test func theStandardErrorIsThatOverPictures() throws {
    var random = Philox(seed: 2, purpose: .test)
    let size = ImageShape(height: 24, width: 24, channels: 1)
    let shape = ImageShape(height: 4, width: 4, channels: 1)
    var pixels: [UInt8] = []
    for k in 0..<5 * size.count {
      let brightness: Double = 40 * Double(k / size.count) + 30 + 8 * random.normal()
      pixels.append(UInt8(max(0, min(255, brightness))))
    }
    let images = try TrainingImages(patch: shape, of: Array(repeating: size, count: 5), pixels: pixels)
    let flow = TrainingGaussian<Double>(shape)
    let dequantization = Dequantization(bits: 8)
    let found = try Evaluation.measure(flow, on: images, dequantization: dequantization, seed: 6)
    #expect(try Evaluation.measure(flow, on: images, dequantization: dequantization, seed: 6) == found)
    let patches = images.fixedPatches(atMost: 2048, seed: 6)
    #expect(patches.count == 5 * 36)
    let x: Tensor<Double> = try patches.dequantized(0..<patches.count, dequantization, seed: 6)
    let values = try flow.logProb(x).map { dequantization.bitsPerDim(logProb: $0, dimensions: 16) }
    let means = (0..<5).map { k in values[(36 * k)..<(36 * k + 36)].reduce(0, +) / 36 }
    let mean = means.reduce(0, +) / 5
    let error = (means.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 4 / 5).squareRoot()
    #expect(found.images == 5 && abs(found.bitsPerDim - mean) < 1e-12)
    #expect(abs(try #require(found.standardError) - error) < 1e-12)
  }

  @Test func statisticsAreThoseOfThePatches() throws {
    let images = try pictures().fixedPatches(atMost: 100, seed: 1)
    let copied = try TrainingImages(shape: patch, pixels: images.pixels)
    let all = Array(0..<images.count)
    for bits in [3, 8] {
      let dequantization = Dequantization(bits: bits)
      let (a, b) = (
        try ImageStatistics.fit(images, indices: all, dequantization: dequantization),
        try ImageStatistics.fit(copied, indices: all, dequantization: dequantization)
      )
      #expect(a != nil && a == b)
      #expect(
        try Requantization.fit(images, indices: all, dequantization: dequantization)
          == Requantization.fit(copied, indices: all, dequantization: dequantization))
    }
  }

  @Test func picturesThatDoNotFitAreNamed() throws {
    let pixels = [UInt8](repeating: 1, count: 12 + 12)
    let thin = [patch, ImageShape(height: 2, width: 6, channels: 1)]
    #expect(throws: TrainingError.patch(picture: 1, found: "2x6x1", patch: "3x4x1")) {
      try TrainingImages(patch: patch, of: thin, pixels: pixels)
    }
    #expect(throws: TrainingError.self) {
      try TrainingImages(patch: patch, of: [ImageShape(height: 3, width: 4, channels: 2)], pixels: pixels)
    }
    #expect(throws: TrainingError.pixelCount(found: 24, shape: "the sizes given")) {
      try TrainingImages(patch: patch, of: [patch], pixels: pixels)
    }
    #expect(throws: TrainingError.nonFinite(value: .infinity, image: 1, position: 2)) {
      try TrainingImages(
        patch: patch, of: [patch, patch], reals: (0..<24).map { $0 == 14 ? .infinity : Double($0) })
    }
  }

  @Test func otherPicturesHaveAnotherFingerprint() throws {
    let pixels = (0..<24).map { UInt8($0) }
    func fingerprint(_ sizes: [(Int, Int)]) throws -> String {
      try TrainingImages(
        patch: ImageShape(height: 2, width: 2, channels: 1),
        of: sizes.map { ImageShape(height: $0, width: $1, channels: 1) }, pixels: pixels
      ).fingerprint()
    }
    #expect(try Set([[(4, 6)], [(6, 4)], [(2, 6), (2, 6)], [(2, 2), (4, 5)]].map(fingerprint)).count == 4)
    // Whole images have the one that they always had.
    let whole = try TrainingImages(shape: ImageShape(height: 2, width: 6, channels: 1), pixels: pixels)
    #expect(try whole.fingerprint() == "2x2x6x1 \(SHA256.hexDigest(pixels))")
  }

  // MARK: Few pictures

  private func config(_ validation: HoldOut = .automatic) -> TrainingConfig {
    var config = TrainingConfig()
    config.patch = "3x4"
    config.validation.images = validation
    return config
  }

  /// Of one picture the last tenth of its longer side is kept back, of at least a patch; a picture that is hardly larger than
  /// a patch is trained on whole.
  @Test(arguments: [(100, 8), (8, 100)]) func aPartOfOnePictureIsKeptBack(_ height: Int, _ width: Int) throws
  {
    let size = ImageShape(height: height, width: width, channels: 1)
    let small = ImageShape(height: 4, width: 8, channels: 1)
    let images = try TrainingImages(
      patch: patch, of: [size, small],
      pixels: (0..<size.count).map { UInt8(max($0 / width, $0 % width)) } + Array(repeating: 200, count: 32))
    let divided = images.divided(for: config())
    let split = try TrainingSplit(images: divided, config: config())
    #expect(split.isOfParts && split.training == [0, 1] && split.validation == [2])
    #expect(try divided.pixels(at: 0).max() == 89 && divided.pixels(at: 2).min() == 90)
    #expect(try divided.pixels(at: 2).count == 80 && divided.pixels(at: 0).count == 720)
    #expect(divided.picture(of: 2) == 0)
    let half = images.divided(for: config(.share(0.2)))
    #expect(try half.pixels(at: 2).count == 160)
    // None is kept back where none is asked for, and whole ones where there are enough.
    #expect(images.divided(for: config(.count(0))).count == 2)
    #expect(images.divided(for: config(.share(0.5))).count == 2)
    #expect(try !TrainingSplit(images: images, config: config(.count(1))).isOfParts)
  }

  /// The first batch has as many patches as are asked for, however few the pictures; statistics are of patches that overlap.
  @Test func onePictureHasManyPatches() throws {
    let size = ImageShape(height: 30, width: 40, channels: 1)
    let images = try TrainingImages(
      patch: patch, of: [size], pixels: (0..<size.count).map { UInt8(truncatingIfNeeded: $0) })
    let stream = TrainingBatches(
      images: images, indices: [0], size: 4, seed: 1, dequantization: .init(bits: 8), augmentation: .init())
    let batch: TrainingBatch<Float> = try stream.initializationBatch(count: 256)
    #expect(batch.images.shape == [256, 3, 4, 1])
    #expect(Set(patches(try batch.images.converted(to: Double.self))).count > 100)
    #expect(images.fixedPatches(atMost: 8192, seed: 1).count == 100)
    #expect(images.fixedPatches(atMost: 8192, overlapping: 4, seed: 1).count == 400)
    #expect(images.fixedPatches(atMost: 300, overlapping: 4, seed: 1).count == 300)
  }

  @Test func turningNeedsSquares() {
    var config = config()
    config.augmentation.turn = true
    let error = #expect(throws: TrainingError.self) {
      try FlowTraining.require(.dense(couplings: 1, hidden: [4]), config, take: self.patch)
    }
    #expect(error == .notSquare("3x4x1"))
  }

  // MARK: How a model sees a picture

  private func model(_ spec: FlowSpec, patch: String = "8x6", stride: String = "auto") -> FlowModel {
    var model = FlowModel(
      spec: spec, imageShape: ImageShape(height: 8, width: 6, channels: 1),
      dequantization: Dequantization(bits: 8), tensors: [])
    var config = TrainingConfig()
    config.patch = patch
    config.stride = PatchStride(stride)!
    model.kind = PriorKind(config, spec, model.imageShape)
    return model
  }

  /// In patches where the flow fits one size or knows noise; as the recipe says where it says so.
  @Test func patchesOrWhole() {
    let (dense, glow) = (
      FlowSpec.dense(couplings: 1, hidden: [4]), FlowSpec.glow(levels: 1, steps: 1, hidden: 4)
    )
    #expect(model(dense).patchStride == 3)
    #expect(model(glow).patchStride == nil && model(glow.conditioned()).patchStride == 3)
    #expect(model(glow, stride: "2").patchStride == 2 && model(dense, stride: "5").patchStride == 5)
    #expect(model(glow.conditioned(), stride: "whole").patchStride == nil)
    // What a stranger's file says leaves no gaps.
    #expect(model(dense, stride: "4000").patchStride == 6)
    #expect(model(dense, patch: "").patchStride == nil && !model(dense, patch: "").isOfPatches)
    #expect(
      FlowModel(spec: dense, imageShape: .vector(4), dequantization: .init(bits: 8), tensors: []).patchStride
        == nil)
    #expect(PatchStride("0") == nil && PatchStride("half") == nil && PatchStride("12") == .pixels(12))
  }
}
