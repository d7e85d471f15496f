import AIPOKernels

/// Writes images as they come, by the suffix of the name: to a PNG (8-bit `⌊256 x⌋` clipped; several images become a
/// grid), a TIFF (a page an image, with the geometry's resolution), a NIfTI (a slice an image, grey), or an NPY or NPZ file (`[n, h, w, c]`, vectors
/// `[n, d]`). But for PNG values are unclipped and in the scalar's precision, unless a TIFF is of another depth. The file appears with `finish`; what was appended so far is a valid result whenever that is called.
public final class ImageOutput<Scalar: KernelScalar> {
  private enum Target {
    case array(NPYWriter<Scalar>)
    case png(AtomicFile)
    case tiff(TIFFWriter<Scalar>)
    case nifti(NIfTIWriter<Scalar>)
  }

  public let path: String
  public let imageShape: ImageShape
  private let target: Target
  /// Of a PNG.
  private var pixels = [UInt8]()

  /// Throws `unwritable`: also where the suffix is of no format, or where a PNG can't hold images of that many channels.
  public init(
    path: String, imageShape: ImageShape, geometry: ImageGeometry? = nil, depth: PixelDepth = .float
  ) throws(FileError) {
    self.path = path
    self.imageShape = imageShape
    switch ImageOutputFormat(path: path) {
    case .array:
      target = .array(
        try NPYWriter(path: path, rowShape: Self.rowShape(imageShape)))
    case .png:
      guard imageShape.channels == 1 || imageShape.channels == 3 else {
        throw .unwritable(path: path, reason: "a PNG can't hold \(imageShape.channels) channels, NPY can")
      }
      target = .png(try AtomicFile(path: path))
    case .tiff:
      target = .tiff(
        try TIFFWriter(path: path, shape: imageShape, depth: depth, geometry: geometry))
    case .nifti: target = .nifti(try NIfTIWriter(path: path, shape: imageShape, geometry: geometry))
    case nil:
      let all = ImageOutputFormat.allCases.flatMap(\.suffixes).joined(separator: " ")
      throw .unwritable(path: path, reason: "the suffix is none of \(all)")
    }
  }

  /// Appends a batch `[k, h, w, c]`.
  public func append(_ batch: Tensor<Scalar>) throws(FileError) {
    precondition(batch.shape.count == 4 && batch.rowLength == imageShape.count || batch.shape[0] == 0)
    try batch.withUnsafeBufferPointer { values throws(FileError) in try append(values: values) }
  }

  /// Appends some values of an image, or of several, in order: what belongs to a file comes in parts where no one has the whole.
  public func append(values: UnsafeBufferPointer<Scalar>) throws(FileError) {
    switch target {
    case .array(let writer): try writer.append(values: values)
    case .png:
      pixels.reserveCapacity(max(imageShape.count, pixels.count + values.count))
      for value in values { pixels.append(PixelValue.byte(Double(value))) }
    case .tiff(let writer): try writer.append(values: values)
    case .nifti(let writer): try writer.append(values: values)
    }
  }

  private static func rowShape(_ shape: ImageShape) -> [Int] {
    shape.isVector ? [shape.channels] : [shape.height, shape.width, shape.channels]
  }

  /// Puts the file in its place. Pictures need one image at least.
  public func finish() throws(FileError) {
    switch target {
    case .array(let writer): try writer.finish()
    case .png(let file):
      let size = imageShape.count
      guard pixels.count >= size, size > 0 else {
        throw .unwritable(path: path, reason: "there are no images to write")
      }
      if pixels.count == size {
        try file.write(PNG.encode(pixels, shape: imageShape, path: path))
      } else {
        let images = stride(from: 0, to: pixels.count, by: size).map { Array(pixels[$0..<$0 + size]) }
        try file.write(ImageGrid(images: images, shape: imageShape).png(path: path))
      }
      try file.commit()
    case .tiff(let writer): try writer.finish()
    case .nifti(let writer): try writer.finish()
    }
  }

  /// Writes a batch `[n, h, w, c]` at once.
  public static func write(
    _ images: Tensor<Scalar>, to path: String, geometry: ImageGeometry? = nil, depth: PixelDepth = .float
  ) throws(FileError) {
    precondition(images.shape.count == 4)
    let output = try ImageOutput(
      path: path,
      imageShape: ImageShape(height: images.shape[1], width: images.shape[2], channels: images.shape[3]),
      geometry: geometry, depth: depth)
    try output.append(images)
    try output.finish()
  }
}

/// The formats that images are written in, told by the suffix of the name.
public enum ImageOutputFormat: Sendable, CaseIterable {
  case png
  /// NPY, or NPZ of one array.
  case array
  case tiff
  case nifti

  public var suffixes: [String] {
    switch self {
    case .png: [".png"]
    case .array: [".npy", ".npz"]
    case .tiff: [".tif", ".tiff"]
    case .nifti: [".nii", ".nii.gz"]
    }
  }

  /// A name with a text put in before its suffix, at its end where that is of no format: `x-sd.nii.gz`.
  public static func adding(_ text: String, to path: String) -> String {
    let suffixes = allCases.flatMap(\.suffixes).filter(path.lowercased().hasSuffix)
    let length = suffixes.map(\.count).max() ?? 0
    return "\(path.dropLast(length))\(text)\(path.suffix(length))"
  }

  /// Nil for another suffix.
  public init?(path: String) {
    let name = path.lowercased()
    guard let format = Self.allCases.first(where: { $0.suffixes.contains(where: name.hasSuffix) }) else {
      return nil
    }
    self = format
  }
}

extension PixelValue {
  /// Each image of a batch as 8-bit values.
  static func images<Scalar: KernelScalar>(_ batch: Tensor<Scalar>) -> [[UInt8]] {
    let size = batch.rowLength
    return batch.withUnsafeBufferPointer { buffer in
      (0..<(batch.shape.first ?? 0)).map { k in (0..<size).map { byte(Double(buffer[k * size + $0])) } }
    }
  }
}
