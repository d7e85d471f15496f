import AIPOKernels

/// Height and width in pixels.
public struct PixelSize: Hashable, Sendable, LosslessStringConvertible {
  public var height: Int
  public var width: Int

  public init(height: Int, width: Int) {
    self.height = height
    self.width = width
  }

  /// `HxW`, as `64x48`; nil for anything else, zero and more than 16,777,216 included.
  public init?(_ text: String) {
    let parts = text.lowercased().split(separator: "x", omittingEmptySubsequences: false)
    guard parts.count == 2, let height = Int(parts[0]), let width = Int(parts[1]),
      (1...1 << 24).contains(height), (1...1 << 24).contains(width)
    else { return nil }
    self.init(height: height, width: width)
  }

  public var description: String { "\(height)x\(width)" }
}

/// What is done to an image when it is read: first its values are scaled, then comes the centre crop, then the
/// resizing, then the change of channels, of which each is optional.
///
/// Shrinking averages over the exact area that a new pixel covers, so that nothing aliases; enlarging
/// interpolates linearly between pixel centres.
public struct ImageTransform: Hashable, Sendable {
  /// The values that become 0 and 1; nil for those of the file's type (``ImageSet``).
  public var range: ValueRange?
  public var crop: PixelSize?
  public var resize: PixelSize?
  public var channels: ChannelChoice

  public init(
    range: ValueRange? = nil, crop: PixelSize? = nil, resize: PixelSize? = nil,
    channels: ChannelChoice = .stored
  ) {
    self.range = range
    self.crop = crop
    self.resize = resize
    self.channels = channels
  }

  /// Images as they are.
  public static let identity = ImageTransform()

  /// The shape that comes out, or nil where the crop is larger than the image, or where grey or colour is wanted
  /// of images that have neither one nor three channels.
  public func shape(of shape: ImageShape) -> ImageShape? {
    var result = shape
    if let crop {
      guard crop.height <= shape.height, crop.width <= shape.width else { return nil }
      result.height = crop.height
      result.width = crop.width
    }
    if let resize {
      result.height = resize.height
      result.width = resize.width
    }
    if channels != .stored {
      guard shape.channels == 1 || shape.channels == 3 else { return nil }
      result.channels = channels == .grey ? 1 : 3
    }
    return result
  }

  /// Whether an image of this shape isn't left as it is, but for the range.
  package func changes(_ shape: ImageShape) -> Bool {
    let isCropped = crop.map { $0.height != shape.height || $0.width != shape.width } ?? false
    return isCropped || resize != nil || channels == .grey && shape.channels != 1
      || channels == .colour && shape.channels != 3
  }

  /// Applies all but the range, which the stored type has a say in, to one image `[h, w, c]` whose transformed shape
  /// isn't nil.
  func apply(_ values: [Double], _ shape: ImageShape) -> [Double] {
    var values = values
    var shape = shape
    if let crop, crop.height != shape.height || crop.width != shape.width {
      let top = (shape.height - crop.height) / 2
      let left = (shape.width - crop.width) / 2
      let row = crop.width * shape.channels
      values = (0..<crop.height).flatMap { y in
        let start = ((top + y) * shape.width + left) * shape.channels
        return values[start..<(start + row)]
      }
      shape = ImageShape(height: crop.height, width: crop.width, channels: shape.channels)
    }
    if let resize {
      values = Self.resample(
        values, outer: 1, from: shape.height, to: resize.height, inner: shape.width * shape.channels)
      values = Self.resample(
        values, outer: resize.height, from: shape.width, to: resize.width, inner: shape.channels)
    }
    if channels == .colour, shape.channels == 1 { values = values.flatMap { [$0, $0, $0] } }
    if channels == .grey, shape.channels == 3 {
      values = stride(from: 0, to: values.count, by: 3).map { (i: Int) -> Double in
        let (red, green, blue) = (values[i], values[i + 1], values[i + 2])
        return 0.299 * red + 0.587 * green + 0.114 * blue
      }
    }
    return values
  }

  /// Resamples the middle axis of `[outer, from, inner]`.
  private static func resample(_ values: [Double], outer: Int, from: Int, to: Int, inner: Int) -> [Double] {
    if from == to { return values }
    let taps = (0..<to).map { weights(of: $0, from: from, to: to) }
    var result = [Double](repeating: 0, count: outer * to * inner)
    for o in 0..<outer {
      for (j, tap) in taps.enumerated() {
        let target = (o * to + j) * inner
        for (k, weight) in tap.weights.enumerated() {
          let source = (o * from + tap.first + k) * inner
          for i in 0..<inner { result[target + i] += weight * values[source + i] }
        }
      }
    }
    return result
  }

  private static func weights(of j: Int, from: Int, to: Int) -> (first: Int, weights: [Double]) {
    if to < from {
      // In units of 1/to of an old pixel the new one covers [j·from, (j+1)·from): exact integers.
      let start = j * from
      let end = start + from
      let first = start / to
      let last = (end - 1) / to
      let weights = (first...last).map { k -> Double in
        let overlap = min((k + 1) * to, end) - max(k * to, start)
        return Double(overlap) / Double(from)
      }
      return (first, weights)
    }
    let centre = (Double(j) + 0.5) * Double(from) / Double(to) - 0.5
    let clamped = min(max(centre, 0), Double(from - 1))
    let first = min(Int(clamped), max(from - 2, 0))
    let share = clamped - Double(first)
    return share == 0 ? (first, [1]) : (first, [1 - share, share])
  }
}
