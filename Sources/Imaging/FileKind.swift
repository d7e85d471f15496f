/// Files that people have, told by their content, so that a message can name what can't be read.
enum FileKind: String, Sendable {
  case png = "PNG"
  case jpeg = "JPEG"
  case tiff = "TIFF"
  case bmp = "BMP"
  case gif = "GIF"
  case webp = "WebP"
  case heic = "HEIC or AVIF"
  case jpeg2000 = "JPEG 2000"
  case jpegXL = "JPEG XL"
  case raw = "camera raw"
  case pnm = "PNM"
  case exr = "OpenEXR"
  case svg = "SVG"
  case pdf = "PDF"
  case array = "NPY, NPZ or IDX"
  case nifti = "NIfTI"
  case matrixMarket = "Matrix Market"
  case hdf5 = "HDF5"
  case matlab = "MAT"
  case fits = "FITS"
  case dicom = "DICOM"
  case empty = "empty"
  case other = "other"

  /// `bytes` are the beginning of the file; the name tells a camera's raw pictures, which are TIFF files as well.
  init(_ bytes: [UInt8], path: String) {
    func has(_ text: StaticString, at place: Int = 0) -> Bool {
      bytes.dropFirst(place).starts(with: text.withUTF8Buffer { Array($0) })
    }
    let name = path.lowercased()
    let isRaw = [".cr2", ".nef", ".arw", ".dng", ".pef", ".srw", ".nrw"].contains(where: name.hasSuffix)
    self =
      if bytes.isEmpty {
        .empty
      } else if bytes.starts(with: PNG.signature) {
        .png
      } else if bytes.starts(with: JPEG.signature) {
        .jpeg
      } else if has("II*\0") || has("MM\0*") || has("II+\0") || has("MM\0+") {
        isRaw || has("CR", at: 8) ? .raw : .tiff
      } else if has("FUJIFILMCCD-RAW") || has("IIRO") || has("IIRS") || has("IIU\0") || has("crx ", at: 8) {
        .raw
      } else if has("BM") && bytes.count >= 14 {
        .bmp
      } else if has("GIF8") {
        .gif
      } else if has("RIFF") && has("WEBP", at: 8) {
        .webp
      } else if has("ftyp", at: 4)
        && ["heic", "heix", "hevc", "heim", "mif1", "msf1", "avif", "avis"].contains(where: {
          bytes.dropFirst(8).starts(with: Array($0.utf8))
        })
      {
        .heic
      } else if has("jP  \r\n", at: 4) || bytes.starts(with: [0xFF, 0x4F, 0xFF, 0x51]) {
        .jpeg2000
      } else if has("JXL ", at: 4) || bytes.starts(with: [0xFF, 0x0A]) {
        .jpegXL
      } else if bytes.count > 2, bytes[0] == UInt8(ascii: "P"), (0x31...0x37).contains(bytes[1]),
        [0x0A, 0x20, 0x0D, 0x09].contains(bytes[2])
      {
        .pnm
      } else if bytes.starts(with: [0x76, 0x2F, 0x31, 0x01]) {
        .exr
      } else if has("<svg") || has("<?xml") && name.hasSuffix(".svg") {
        .svg
      } else if has("%PDF") {
        .pdf
      } else if NPY.isNPY(bytes) || IDX.isIDX(bytes) || ZipArchive.isZip(bytes) && name.hasSuffix(".npz") {
        .array
      } else if bytes.starts(with: HDF5.signature) || has("MATLAB 7.3") {
        .hdf5
      } else if MAT.isMAT(bytes) {
        .matlab
      } else if NIfTI(bytes, path: path) != nil {
        .nifti
      } else if bytes.starts(with: MatrixMarket.banner) {
        .matrixMarket
      } else if has("SIMPLE  =") {
        .fits
      } else if has("DICM", at: 128) {
        .dicom
      } else {
        .other
      }
  }

  /// For "is …".
  var words: String {
    switch self {
    case .empty: "empty"
    case .other: "of unknown format"
    case .array: "an array"
    case .heic: "a HEIC or AVIF picture"
    case .raw: "a camera's raw picture"
    case .hdf5: "an HDF5 file"
    case .matlab, .fits, .dicom, .nifti, .matrixMarket: "a \(rawValue) file"
    case .png, .jpeg, .tiff, .bmp, .gif, .webp, .jpeg2000, .jpegXL, .pnm, .svg, .pdf: "a \(rawValue) picture"
    case .exr: "an OpenEXR picture"
    }
  }

  /// The kinds of pictures that this build reads: two of them by libraries that come with a package trait.
  static let pictures: [FileKind] = {
    var kinds: [FileKind] = [.png, .jpeg]
    #if TIFF
      kinds.append(.tiff)
    #endif
    #if WebP
      kinds.append(.webp)
    #endif
    return kinds
  }()

  /// For "expected …".
  static var picturesInWords: String {
    pictures.dropLast().map(\.rawValue).joined(separator: ", ") + " or " + pictures.last!.rawValue
  }

  /// Whether it is a picture that can be read.
  var isPicture: Bool { Self.pictures.contains(self) }

  /// Whether it is a picture that can be read once it is converted.
  var isForeignPicture: Bool {
    switch self {
    case .bmp, .gif, .heic, .jpeg2000, .jpegXL, .pnm, .exr, .svg, .pdf, .raw: true
    case .png, .jpeg, .tiff, .webp: !isPicture
    case .array, .nifti, .matrixMarket, .hdf5, .matlab, .fits, .dicom, .empty, .other: false
    }
  }

  /// How to get a file that can be read out of one of this name; nil where that is unknown.
  func remedy(_ name: String, of what: String = "it") -> String? {
    // Others mustn't find their way into a command that somebody copies.
    let isPlain =
      name.first != "-"
      && name.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "._-/".contains($0)) }
    let name = isPlain ? name : "FILE"
    let stem = name.lastIndex(of: ".").map { $0 == name.startIndex ? name : String(name[..<$0]) } ?? name
    return switch self {
    case .raw: "develop \(what) to PNG, as darktable and RawTherapee do"
    case .tiff where isForeignPicture, .webp where isForeignPicture:
      "build aipo with its package trait \(rawValue), or convert \(what) to PNG: magick \(name) \(stem).png"
    case _ where isForeignPicture: "convert \(what) to PNG, as ImageMagick does: magick \(name) \(stem).png"
    case .fits, .dicom: "save its array from Python: numpy.save('\(stem).npy', array)"
    default: nil
    }
  }
}
