import AIPOKernels

extension ImageLayout {
  /// The layout that a shape has by the look of it, where reading it as `nhwc` gives images that nobody has: of a few
  /// pixels' height and many channels, or of a few pixels' width. Nil where nothing speaks against `nhwc`.
  static func suspected(_ shape: [Int]) -> ImageLayout? {
    func isChannels(_ extent: Int) -> Bool { (1...3).contains(extent) }
    func isSide(_ extent: Int) -> Bool { extent > 4 }
    return switch shape.count {
    case 4 where isChannels(shape[1]) && isSide(shape[2]) && isSide(shape[3]): .nchw
    case 3 where isSide(shape[0]) && isSide(shape[1]) && isChannels(shape[2]): .hwc
    default: nil
    }
  }

  /// For a message.
  private var words: String {
    switch self {
    case .nhwc: "[n, h, w, c]"
    case .nchw: "[n, c, h, w] with channels first"
    case .hwc: "one image [h, w, c]"
    case .chw: "one image [c, h, w] with channels first"
    }
  }

  /// How the images of an array lie in it.
  struct Images: Sendable {
    var count: Int
    var shape: ImageShape
    /// Whether the values of an image are `[c, h, w]`.
    var channelsFirst: Bool
  }

  /// Throws `malformed` where the array's shape isn't the layout's, or, without a layout, looks like another than
  /// `nhwc`.
  static func images(
    in array: ArrayData, as layout: ImageLayout?, plane: ImageSet.PlaneMeaning
  ) throws(FileError) -> Images {
    let found = array.header.shape
    func refuse(_ found: String, _ expected: String) -> FileError {
      .malformed(path: array.path, what: "shape of the images", found: found, expected: expected)
    }
    if layout == nil, plane == .image, let other = suspected(found) {
      throw refuse(
        "\(found), which looks like \(other.words)",
        "[n, h, w, c] or [n, h, w]; give --layout \(other.rawValue), or --layout nhwc to take it as it stands"
      )
    }
    var shape = found
    if layout == .hwc || layout == .chw {
      guard shape.count == 3 else {
        throw refuse("\(found)", "three axes for --layout \(layout?.rawValue ?? "")")
      }
      shape.insert(1, at: 0)
    }
    if plane == .vectors {
      if shape.count == 1 { shape.insert(1, at: 0) }
      if shape.count == 2 { shape.insert(contentsOf: [1, 1], at: 1) }
    }
    if shape.count == 2 { shape.insert(1, at: 0) }
    let channelsFirst = shape.count == 4 && (layout == .nchw || layout == .chw)
    if shape.count == 3 { shape.append(1) }
    guard shape.count == 4, shape.allSatisfy({ $0 > 0 }) else {
      throw refuse(
        "\(found)",
        "[n, h, w, c], [n, h, w] or \(plane == .vectors ? "[n, d]" : "[h, w]") with nothing zero")
    }
    if channelsFirst { shape = [shape[0], shape[2], shape[3], shape[1]] }
    return Images(
      count: shape[0], shape: ImageShape(height: shape[1], width: shape[2], channels: shape[3]),
      channelsFirst: channelsFirst && shape[3] > 1)
  }

  /// The values of an image, `[c, h, w]`, as `[h, w, c]`.
  static func channelsLast<Value>(_ values: [Value], _ shape: ImageShape) -> [Value] {
    let plane = shape.height * shape.width
    return (0..<values.count).map { values[$0 % shape.channels * plane + $0 / shape.channels] }
  }
}
