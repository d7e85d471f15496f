import AIPOKernels

/// Random changes that leave an image an image.
public struct Augmentation: Sendable, Hashable {
  /// Mirror left and right, every other image.
  public var flip: Bool
  /// Move by up to so many pixels each way, uniformly; the edge is repeated.
  public var shift: Int
  /// Turn by 0 to 3 quarters, each as likely; of square images.
  public var turn: Bool

  public init(flip: Bool = false, shift: Int = 0, turn: Bool = false) {
    precondition(shift >= 0)
    self.flip = flip
    self.shift = shift
    self.turn = turn
  }

  /// The changed image `[h, w, c]`.
  func apply<Value>(to image: ArraySlice<Value>, shape: ImageShape, random: inout Philox) -> [Value] {
    guard flip || turn || shift > 0 else { return Array(image) }
    let mirrored = flip && random.next() & 1 == 1
    func offset() -> Int { shift == 0 ? 0 : Int(random.next() % UInt64(2 * shift + 1)) - shift }
    let (dy, dx) = (offset(), offset())
    let quarters = turn ? Int(random.next() & 3) : 0
    return Self.changed(image, shape, mirrored: mirrored, quarters: quarters, dy, dx)
  }

  private static func changed<Value>(
    _ image: ArraySlice<Value>, _ shape: ImageShape, mirrored: Bool, quarters: Int, _ dy: Int = 0,
    _ dx: Int = 0
  ) -> [Value] {
    var out = Array(image)
    let (height, width, channels) = (shape.height, shape.width, shape.channels)
    precondition(quarters == 0 || height == width, "quarter turns are of square images")
    for y in 0..<height {
      for x in 0..<width {
        var (row, column) = (y, x)
        for _ in 0..<quarters { (row, column) = (column, height - 1 - row) }
        let sourceY = min(max(row + dy, 0), height - 1)
        let moved = min(max(column + dx, 0), width - 1)
        let sourceX = mirrored ? width - 1 - moved : moved
        for c in 0..<channels {
          out[(y * width + x) * channels + c] =
            image[image.startIndex + (sourceY * width + sourceX) * channels + c]
        }
      }
    }
    return out
  }

  /// Of every mirror image and turn, which value of the image each value is.
  func orders(_ shape: ImageShape) -> [[Int]] {
    let places = Array(0..<shape.count)
    return (flip ? [false, true] : [false]).flatMap { mirrored in
      (0..<(turn ? 4 : 1)).map {
        Self.changed(places[...], shape, mirrored: mirrored, quarters: $0)
      }
    }
  }
}

/// Images to train on or to measure with, `[n, h, w, c]`.
struct TrainingBatch<Scalar: KernelScalar>: Equatable {
  var images: Tensor<Scalar>
  /// The noise level of each that has been added to it; empty where the density knows clean images alone.
  var noise: [Double] = []

  /// Adds noise to every image from the image's stream, of a level that is drawn from the stream too.
  mutating func smooth(
    _ stream: (_ image: Int) -> Philox, level: (_ random: inout Philox) -> Double
  ) {
    let (count, d) = (images.shape[0], images.rowLength)
    noise = []
    images.withUnsafeMutableBufferPointer { values in
      for i in 0..<count {
        var random = stream(i)
        let s = level(&random)
        noise.append(s)
        for k in i * d..<(i + 1) * d { values[k] += Scalar(s * random.normal()) }
      }
    }
  }
}

/// The batches of a training: a function of (seed, step) alone.
///
/// The stream of images runs through the training images in a new random order every epoch; step s takes
/// positions s·B to s·B + B − 1 of it. Patches, augmentation, dequantisation noise and what a condition adds are keyed by
/// the position.
struct TrainingBatches {
  let images: TrainingImages
  /// The images of `images` that are trained on.
  let indices: [Int]
  let size: Int
  let seed: UInt64
  let dequantization: Dequantization
  let augmentation: Augmentation
  let condition: Condition?
  private var order: (epoch: Int, indices: [Int])?

  init(
    images: TrainingImages, indices: [Int], size: Int, seed: UInt64, dequantization: Dequantization,
    augmentation: Augmentation, condition: Condition? = nil
  ) {
    precondition(size > 0 && !indices.isEmpty)
    self.images = images
    self.indices = indices
    self.size = size
    self.seed = seed
    self.dequantization = dequantization
    self.augmentation = augmentation
    self.condition = condition
  }

  /// The batch of a step (from 0), `[B, h, w, c]`, or some of its images. Throws `TensorError`, and `FileError` where images
  /// can't be read.
  mutating func batch<Scalar: KernelScalar>(
    step: Int, part: Range<Int>? = nil, as: Scalar.Type
  ) throws -> TrainingBatch<Scalar> {
    let part = part ?? 0..<size
    let first = step * size + part.lowerBound
    let chosen = (first..<first + part.count).map { index(position: $0) }
    let shape = images.shape
    var result = try Tensor<Scalar>(shape: [part.count, shape.height, shape.width, shape.channels])
    let d = shape.count
    try result.withUnsafeMutableBufferPointer { out in
      for (k, image) in chosen.enumerated() {
        let position = UInt64(first + k)
        var place = Philox(seed: seed, index: position, purpose: .patch)
        var random = Philox(seed: seed, index: position, purpose: .augmentation)
        var noise = Philox(seed: seed, index: position, purpose: .dequantization)
        try images.fill(
          UnsafeMutableBufferPointer(rebasing: out[(k * d)..<((k + 1) * d)]),
          images.window(of: image, random: &place), augmentation: augmentation, random: &random,
          dequantization: dequantization, noise: &noise)
      }
    }
    var batch = TrainingBatch(images: result)
    if let condition {
      batch.smooth {
        Philox(seed: seed, index: UInt64(first + $0), purpose: .smoothing)
      } level: {
        condition.draw(&$0)
      }
    }
    return batch
  }

  /// The first training images, dequantised, for the data-dependent initialisation: of images no more than there are, of
  /// patches as many as are asked for, however few the pictures.
  func initializationBatch<Scalar: KernelScalar>(count: Int) throws -> TrainingBatch<Scalar> {
    var first = TrainingBatches(
      images: images, indices: indices, size: images.areWindows ? count : min(count, indices.count),
      seed: seed,
      dequantization: dequantization, augmentation: augmentation, condition: condition)
    return try first.batch(step: 0, as: Scalar.self)
  }

  /// The image at a position of the stream.
  private mutating func index(position: Int) -> Int {
    let epoch = position / indices.count
    if order?.epoch != epoch {
      order = (epoch, indices.shuffled(seed: seed, index: UInt64(epoch)))
    }
    return order!.indices[position % indices.count]
  }
}

extension Array {
  /// Fisher–Yates with a stream of its own, the same on every platform.
  func shuffled(seed: UInt64, index: UInt64) -> [Element] {
    var result = self
    var random = Philox(seed: seed, index: index, purpose: .shuffle)
    for i in stride(from: result.count - 1, to: 0, by: -1) {
      // The product's high word is uniform on 0...i up to 2⁻⁶⁴(i + 1).
      result.swapAt(i, Int(random.next().multipliedFullWidth(by: UInt64(i + 1)).high))
    }
    return result
  }
}
