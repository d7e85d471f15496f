import AIPOKernels

/// Images to train on or to measure with: as 8-bit pixels, or as real numbers that aren't dequantised.
/// Vectors of d values are images of 1×1×d.
///
/// The images have one shape; or they are pictures of any sizes, and what is trained on are patches of one shape,
/// cut out of them anew at each step. Subsets and patches share the pictures' memory. Pictures that are too many for it are in
/// files, and their values are read where they are needed.
public struct TrainingImages: Sendable {
  /// What a density sees: the shape of the images, or of the patches.
  public let shape: ImageShape
  private let storedPixels: [UInt8]
  private let storedReals: [Double]
  /// Where the values are instead, if they aren't in memory.
  private let files: PictureFiles?
  /// Whether real numbers are held, not pixels.
  public let isReal: Bool
  private let windows: [Window]
  /// How many of the last are parts of pictures that are kept back; see `divided`.
  let partsKeptBack: Int
  /// Whether the windows are all that is stored, in order.
  private let isWhole: Bool

  /// A rectangle of a stored picture.
  struct Window: Sendable {
    /// Which picture of its source it is in, or is.
    var picture: Int
    /// Of its first value in what is stored, of pictures in files in its file.
    var offset: Int
    /// Values from one row to the next.
    var stride: Int
    var height: Int
    var width: Int
  }

  /// Pictures in the set.
  public var count: Int { windows.count }

  /// Whether the values are in files, not in memory.
  public var isStreamed: Bool { files != nil }
  /// What these files are called.
  var fileNames: [String] { files?.names ?? [] }

  /// The 8-bit pixels of all pictures, one behind the other; empty for real numbers. Not of a set that is streamed.
  public var pixels: [UInt8] {
    precondition(!isStreamed, "a set that is streamed isn't held in memory")
    return isWhole || isReal ? storedPixels : windows.flatMap { slice(storedPixels, $0) }
  }

  /// The real numbers of all pictures; empty for pixels. Not of a set that is streamed.
  public var reals: [Double] {
    precondition(!isStreamed, "a set that is streamed isn't held in memory")
    return isWhole || !isReal ? storedReals : windows.flatMap { slice(storedReals, $0) }
  }

  /// Throws `pixelCount` where `pixels` is no whole number of images.
  public init(shape: ImageShape, pixels: [UInt8]) throws(TrainingError) {
    try self.init(shape: shape, pixels: pixels, reals: [], sizes: nil)
  }

  /// Real numbers, for a training without dequantisation. Throws `pixelCount` where they are no whole number of
  /// images, `nonFinite`.
  public init(shape: ImageShape, reals: [Double]) throws(TrainingError) {
    try self.init(shape: shape, pixels: [], reals: reals, sizes: nil)
  }

  /// Patches of pictures of the given sizes, whose pixels come one picture behind the other, `[h, w, c]` each.
  ///
  /// Throws `patch` where a picture is smaller than the patch or has other channels, `pixelCount`.
  public init(patch: ImageShape, of sizes: [ImageShape], pixels: [UInt8]) throws(TrainingError) {
    try self.init(shape: patch, pixels: pixels, reals: [], sizes: sizes)
  }

  /// Patches of pictures of real numbers. Throws also `nonFinite`.
  public init(patch: ImageShape, of sizes: [ImageShape], reals: [Double]) throws(TrainingError) {
    try self.init(shape: patch, pixels: [], reals: reals, sizes: sizes)
  }

  private init(shape: ImageShape, pixels: [UInt8], reals: [Double], sizes: [ImageShape]?)
    throws(TrainingError)
  {
    let values = pixels.count + reals.count
    guard shape.count > 0, sizes != nil || values % shape.count == 0 else {
      throw .pixelCount(found: values, shape: "\(shape)")
    }
    let sizes = sizes ?? Array(repeating: shape, count: values / shape.count)
    let windows = try Self.windows(of: sizes, shape)
    guard sizes.reduce(0, { $0 + $1.count }) == values else {
      throw .pixelCount(found: values, shape: "the sizes given")
    }
    self.shape = shape
    storedPixels = pixels
    storedReals = reals
    files = nil
    isReal = pixels.isEmpty
    self.windows = windows
    partsKeptBack = 0
    isWhole = true
    if let bad = reals.firstIndex(where: { !$0.isFinite }) {
      let picture = windows.last { $0.offset <= bad }!
      throw .nonFinite(value: reals[bad], image: picture.picture, position: bad - picture.offset)
    }
  }

  /// Patches of pictures of the given sizes whose values are kept in files, one a rank. `values` gives those of picture k,
  /// `[h, w, c]`: pixels as `UInt8` or finite real numbers as `Double`. Each picture is asked of one rank, and all ranks get
  /// the same set.
  ///
  /// Throws `patch`, `pixelCount`, `FileError` where a file can't be written, `RankError` where ranks have other sizes, and
  /// what `values` throws.
  package init<Value: BitwiseCopyable>(
    patch: ImageShape, of sizes: [ImageShape], in place: PictureFiles.Place,
    values: (_ picture: Int) throws -> [Value]
  ) throws {
    precondition(Value.self == UInt8.self || Value.self == Double.self, "pixels or real numbers")
    let ranks = place.ranks
    if ranks.count > 1 {
      let all = sizes.flatMap { [Int64($0.height), Int64($0.width)] }
      var digest = SHA256()
      all.withUnsafeBytes { digest.update($0) }
      try ranks.requireSame([("data", "\(sizes.count)x\(patch), of sizes \(digest.hexDigest())")])
    }
    windows = try Self.windows(of: sizes, patch, files: ranks.count)
    files = try PictureFiles(place, pictures: sizes.count) { picture in
      let result = try values(picture)
      guard result.count == sizes[picture].count else {
        throw TrainingError.pixelCount(found: result.count, shape: "\(sizes[picture])")
      }
      return result
    }
    shape = patch
    isReal = Value.self == Double.self
    storedPixels = []
    storedReals = []
    partsKeptBack = 0
    isWhole = true
  }

  /// Whole pictures that are stored one behind the other, those of one of several files k ≡ file (mod files).
  private static func windows(
    of sizes: [ImageShape], _ shape: ImageShape, files: Int = 1
  ) throws(TrainingError) -> [Window] {
    var windows: [Window] = []
    windows.reserveCapacity(sizes.count)
    var offsets = [Int](repeating: 0, count: files)
    for (k, size) in sizes.enumerated() {
      guard size.height >= shape.height, size.width >= shape.width, size.channels == shape.channels else {
        throw .patch(picture: k, found: "\(size)", patch: "\(shape)")
      }
      windows.append(
        Window(
          picture: k, offset: offsets[k % files], stride: size.width * size.channels, height: size.height,
          width: size.width))
      offsets[k % files] += size.count
    }
    return windows
  }

  /// Images `[n, h, w, c]` on [0, 1], taken to 8 bits by `⌊256x⌋` (1 counts as 255).
  ///
  /// Nothing that training uses is lost: dequantisation keeps at most the 8 leading bits.
  /// Throws `invalidPixel` for a value that isn't in [0, 1].
  public init<Scalar: KernelScalar>(_ images: Tensor<Scalar>) throws(TrainingError) {
    precondition(images.shape.count == 4, "images have shape [n, h, w, c]")
    let shape = ImageShape(height: images.shape[1], width: images.shape[2], channels: images.shape[3])
    var pixels = [UInt8](repeating: 0, count: images.count)
    let wrong = images.withUnsafeBufferPointer { quantize8($0, into: &pixels) }
    if let wrong {
      let size = max(shape.count, 1)
      throw .invalidPixel(
        value: Double(images[flat: wrong]), image: wrong / size, position: wrong % size)
    }
    try self.init(shape: shape, pixels: pixels)
  }

  /// The pictures at `indices`, in that order.
  public func subset(_ indices: some Collection<Int>) -> TrainingImages {
    TrainingImages(of: self, windows: indices.map { windows[$0] })
  }

  private init(of whole: TrainingImages, windows: [Window], partsKeptBack: Int = 0) {
    shape = whole.shape
    storedPixels = whole.storedPixels
    storedReals = whole.storedReals
    files = whole.files
    isReal = whole.isReal
    self.windows = windows
    self.partsKeptBack = partsKeptBack
    isWhole = false
  }

  /// For patches of so few pictures that none of them can be kept back to measure on: every picture that is long enough cut
  /// in two, the share at its end, of at least a patch, to be kept back. Else the pictures as they are.
  func divided(for config: TrainingConfig) -> TrainingImages {
    let share: Double
    switch config.validation.images {
    case .automatic: share = 0.1
    case .share(let value): share = value
    case .count: return self
    }
    guard !config.patch.isEmpty, config.validation.images.count(of: count) == 0 else { return self }
    var (kept, parts): ([Window], [Window]) = ([], [])
    for window in windows {
      let isWide = window.width > window.height
      let (length, patch) = isWide ? (window.width, shape.width) : (window.height, shape.height)
      let end = max(patch, Int((share * Double(length)).rounded()))
      var (first, last) = (window, window)
      // A picture that is hardly more than a patch is better trained on.
      if length >= end + 3 * patch {
        last.offset += (length - end) * (isWide ? shape.channels : window.stride)
        if isWide {
          (first.width, last.width) = (length - end, end)
        } else {
          (first.height, last.height) = (length - end, end)
        }
        parts.append(last)
      }
      kept.append(first)
    }
    return parts.isEmpty
      ? self : TrainingImages(of: self, windows: kept + parts, partsKeptBack: parts.count)
  }

  // MARK: Patches

  private func isPatch(_ window: Window) -> Bool {
    window.height == shape.height && window.width == shape.width
  }

  /// Whether there are pictures that patches are cut out of.
  var areWindows: Bool { !windows.allSatisfy(isPatch) }

  /// Which picture of its source image i is, or is cut out of.
  func picture(of i: Int) -> Int { windows[i].picture }

  /// A patch of picture i, every place as likely; the picture itself where it is no larger.
  func window(of i: Int, random: inout Philox) -> Window {
    var window = windows[i]
    guard !isPatch(window) else { return window }
    // The product's high word is uniform on 0...n up to 2⁻⁶⁴(n + 1).
    func place(_ n: Int) -> Int { Int(random.next().multipliedFullWidth(by: UInt64(n + 1)).high) }
    let y = place(window.height - shape.height)
    let x = place(window.width - shape.width)
    window.offset += y * window.stride + x * shape.channels
    window.height = shape.height
    window.width = shape.width
    return window
  }

  /// Patches to measure with, the same at any time: their places are keyed by (seed, picture, number).
  ///
  /// Every picture gives as many, one behind the other: as many as a picture of the mean size holds side by side, times
  /// `overlapping`, but no more than `most` from all pictures together, and at least one. Images that are no larger than
  /// the patch are given as they are.
  public func fixedPatches(atMost most: Int, overlapping: Int = 1, seed: UInt64) -> TrainingImages {
    guard areWindows else { return self }
    let fitting =
      overlapping * windows.reduce(0) { $0 + ($1.height / shape.height) * ($1.width / shape.width) }
    let each = max(1, min(fitting, most) / count)
    var patches: [Window] = []
    patches.reserveCapacity(each * count)
    for i in windows.indices {
      for k in 0..<each {
        let index = UInt64(windows[i].picture) << 32 | UInt64(k)
        var random = Philox(seed: seed, index: index, purpose: .fixedPatch)
        patches.append(window(of: i, random: &random))
      }
    }
    return TrainingImages(of: self, windows: patches)
  }

  // MARK: Values

  private func slice<Value>(_ values: [Value], _ window: Window) -> ArraySlice<Value> {
    let row = window.width * shape.channels
    if window.stride == row || window.height == 1 {
      return values[window.offset..<window.offset + window.height * row]
    }
    var result: [Value] = []
    result.reserveCapacity(window.height * row)
    for y in 0..<window.height {
      let start = window.offset + y * window.stride
      result += values[start..<start + row]
    }
    return result[...]
  }

  /// Of a window, wherever they are.
  private func values<Value: BitwiseCopyable>(
    _ stored: [Value], _ window: Window
  ) throws(FileError) -> ArraySlice<Value> {
    guard let files else { return slice(stored, window) }
    let row = window.width * shape.channels
    // Of rows that are no more than a page apart every page is read anyhow.
    guard window.stride * MemoryLayout<Value>.size > 4096, window.stride > row else {
      let span = (window.height - 1) * window.stride + row
      var own = window
      own.offset = 0
      return slice(try files.values(of: window.picture, at: window.offset, count: span), own)
    }
    return try files.values(
      of: window.picture, at: window.offset, count: row, rows: window.height, stride: window.stride)[...]
  }

  /// The pixels of image i, `[h, w, c]`. Throws where they are in a file that can't be read.
  func pixels(at i: Int) throws(FileError) -> ArraySlice<UInt8> { try values(storedPixels, windows[i]) }

  /// The real numbers of image i, `[h, w, c]`. Throws where they are in a file that can't be read.
  func reals(at i: Int) throws(FileError) -> ArraySlice<Double> { try values(storedReals, windows[i]) }

  /// Tells other images apart: count, shape, sizes and a digest of the values. Of files that `ranks` share the first one takes it.
  func fingerprint(_ ranks: any Ranks = OneRank()) throws -> String {
    guard isStreamed, ranks.count > 1 else { return try ownFingerprint() }
    let own = ranks.isFirst ? Array(try ownFingerprint().utf8) : []
    return String(decoding: try ranks.gather(own, patience: nil)[0], as: UTF8.self)
  }

  private func ownFingerprint() throws(FileError) -> String {
    var digest = SHA256()
    for (i, window) in windows.enumerated() {
      if !isPatch(window) { digest.update(Array("\(window.height)x\(window.width);".utf8)) }
      if isReal {
        try reals(at: i).withUnsafeBytes { digest.update($0) }
      } else {
        try pixels(at: i).withUnsafeBytes { digest.update($0) }
      }
    }
    return "\(count)x\(shape) \(digest.hexDigest())"
  }

  /// The one value that everything has, or nil where values differ (or there are none). Throws where a file can't be read.
  func constantValue() throws -> Double? {
    func constant<Value: Equatable>(_ values: (Int) throws -> ArraySlice<Value>) throws -> Value? {
      guard count > 0, let first = try values(0).first else { return nil }
      return try windows.indices.allSatisfy { try values($0).allSatisfy { $0 == first } } ? first : nil
    }
    return isReal ? try constant(reals(at:)) : try constant(pixels(at:)).map { Double($0) }
  }

  /// What a density takes of a window: changed by `augmentation`, then dequantised by `noise`; real numbers as they
  /// are. Throws where they are in a file that can't be read.
  func fill<Scalar: KernelScalar>(
    _ out: UnsafeMutableBufferPointer<Scalar>, _ window: Window, augmentation: Augmentation,
    random: inout Philox, dequantization: Dequantization, noise: inout Philox
  ) throws(FileError) {
    precondition(isPatch(window), "what a density takes has its shape")
    if isReal {
      let changed = augmentation.apply(
        to: try values(storedReals, window), shape: shape, random: &random)
      for (k, value) in changed.enumerated() { out[k] = Scalar(value) }
    } else {
      augmentation.apply(to: try values(storedPixels, window), shape: shape, random: &random)
        .withUnsafeBufferPointer { dequantization.fill(out, from: $0, noise: &noise) }
    }
  }

  /// Image i, which has the density's shape, dequantised by `noise`.
  func fill<Scalar: KernelScalar>(
    _ out: UnsafeMutableBufferPointer<Scalar>, image i: Int, dequantization: Dequantization,
    noise: inout Philox
  ) throws(FileError) {
    var unused = noise
    try fill(
      out, windows[i], augmentation: Augmentation(), random: &unused, dequantization: dequantization,
      noise: &noise)
  }
}

/// Gives the position of the first value outside [0, 1], if any.
@_specialize(where Scalar == Float)
@_specialize(where Scalar == Double)
private func quantize8<Scalar: KernelScalar>(
  _ values: UnsafeBufferPointer<Scalar>, into pixels: inout [UInt8]
) -> Int? {
  for i in values.indices {
    guard values[i] >= 0, values[i] <= 1 else { return i }
    pixels[i] = UInt8(min(255, values[i] * 256))
  }
  return nil
}
