#if TIFF
  import AIPOKernels
  import CAIPOTIFF

  /// Tagged Image File Format, classic and BigTIFF: stacks of pages, in strips or tiles, channels interleaved or apart.
  ///
  /// Values of 8 to 64 bits, integer or floating, are taken as they are stored; those of 1, 2 and 4 bits fill the scale of a
  /// byte. Palettes become RGB, and white is the greatest value. An alpha channel is dropped where every pixel is opaque and
  /// refused otherwise; extra channels without a meaning are channels. Orientation is applied. Reduced copies of a page and
  /// masks of transparency are passed over.
  ///
  /// Source: Adobe, *TIFF Revision 6.0*; the compression is libtiff's.
  enum TIFF {
    struct Page: Sendable {
      /// As it is to be seen.
      var shape: ImageShape
      var type: ElementType
      var geometry: ImageGeometry?
      /// Where its directory is in the file.
      var offset: UInt64
    }

    /// At least one.
    static func pages(_ source: ByteSource) throws(FileError) -> [Page] {
      let reader = try TIFFReader(source)
      var pages = [Page]()
      var announced = 0
      repeat {
        let tags = try reader.tags()
        // 1: a reduced copy, 4: a mask of transparency.
        if tags.subfile_type & 5 != 0 { continue }
        let layout = try TIFFLayout(tags, source)
        if pages.isEmpty { announced = layout.description.images }
        pages.append(
          Page(
            shape: layout.orientation.shape(of: layout.shape), type: layout.type, geometry: layout.geometry,
            offset: tags.offset))
        guard pages.count <= ImageLimits.pages else {
          throw source.malformed("TIFF", "of more than \(ImageLimits.pages) pages", "fewer")
        }
      } while try reader.advance()
      guard !pages.isEmpty else {
        throw source.malformed("TIFF", "without a page but reduced copies and masks", "an image")
      }
      guard announced <= pages.count else {
        throw source.malformed(
          "TIFF", "a stack of \(announced) images by ImageJ's word, with a directory for \(pages.count)",
          "one each; from Python: tifffile.imwrite('new.tif', tifffile.imread('old.tif'), bigtiff=True)")
      }
      return pages
    }

    /// The pixels of the page whose directory is at `offset`, as they are to be seen.
    static func decode(_ source: ByteSource, page offset: UInt64) throws(FileError) -> (
      ImageShape, StoredPixels
    ) {
      let reader = try TIFFReader(source)
      try reader.go(to: offset)
      let layout = try TIFFLayout(try reader.tags(), source)
      try layout.requireContent(source)
      // As stored, with alpha or indices of a palette, and as wanted.
      try MemoryLimit.require(
        2 * layout.pixels * max(layout.storedSamples, layout.shape.channels) * layout.type.size,
        for: source.path)
      let raw = try reader.samples(layout)
      let pixels = try layout.pixels(raw, palette: layout.isPalette ? reader.palette(layout) : [], source)
      return (
        layout.orientation.shape(of: layout.shape), pixels.turned(layout.orientation, stored: layout.shape)
      )
    }
  }

  /// What the tags of a page mean.
  struct TIFFLayout {
    let tags: aipo_tiff_page
    /// Without alpha, as stored.
    let shape: ImageShape
    let type: ElementType
    let orientation: Orientation
    let description: ImageJDescription
    /// The channel that is alpha, if any.
    let alpha: Int?

    var pixels: Int { shape.height * shape.width }
    var storedSamples: Int { Int(tags.samples) }
    var bits: Int { Int(tags.bits) }
    var isPalette: Bool { Int32(tags.photometric) == PHOTOMETRIC_PALETTE }
    private var isInverted: Bool { Int32(tags.photometric) == PHOTOMETRIC_MINISWHITE }
    var isTiled: Bool { tags.tile_width > 0 }
    /// Planes of the file, each of so many samples a pixel.
    var planes: Int { Int32(tags.planar) == PLANARCONFIG_SEPARATE ? storedSamples : 1 }
    var samplesInPlane: Int { storedSamples / planes }
    var rowBytes: Int { (shape.width * samplesInPlane * bits + 7) / 8 }

    init(_ tags: aipo_tiff_page, _ source: ByteSource) throws(FileError) {
      self.tags = tags
      func refuse(_ what: String, _ found: String, _ expected: String) -> FileError {
        source.malformed("\(what) of the TIFF", found, expected)
      }
      let samples = Int(tags.samples)
      guard tags.width > 0, tags.height > 0, samples > 0 else {
        throw refuse("size", "\(tags.height)x\(tags.width)x\(samples)", "more than nothing")
      }
      type = try Self.type(bits: Int(tags.bits), format: Int32(tags.format), refuse)
      var channels = samples
      var alpha: Int?
      switch Int32(tags.photometric) {
      case PHOTOMETRIC_MINISBLACK, PHOTOMETRIC_MINISWHITE, PHOTOMETRIC_RGB:
        let colours = Int32(tags.photometric) == PHOTOMETRIC_RGB ? 3 : 1
        guard samples >= colours else { throw refuse("number of samples a pixel", "\(samples)", "3 for RGB") }
        let kinds = withUnsafeBytes(of: tags.extra) { Array($0.bindMemory(to: UInt16.self)) }
        // The first extra sample is alpha, and the only one, or all are channels.
        if samples == colours + 1, tags.extra_count == 1,
          [EXTRASAMPLE_ASSOCALPHA, EXTRASAMPLE_UNASSALPHA].contains(Int32(kinds[0]))
        {
          alpha = colours
          channels = colours
        }
      case PHOTOMETRIC_PALETTE:
        guard samples == 1, Int32(tags.format) == SAMPLEFORMAT_UINT, tags.bits <= 8 else {
          throw refuse("palette", "of \(samples) samples of \(tags.bits) bits", "one of at most 8")
        }
        channels = 3
      case PHOTOMETRIC_YCBCR where Int32(tags.compression) == COMPRESSION_JPEG && samples == 3: break
      default:
        throw refuse(
          "kind of colour", Self.colours[Int32(tags.photometric)] ?? "number \(tags.photometric)",
          "grey, RGB, or a palette; ImageMagick converts it: magick in.tif -colorspace sRGB out.png")
      }
      self.alpha = alpha
      shape = ImageShape(height: Int(tags.height), width: Int(tags.width), channels: channels)
      try ImageLimits.check(shape, path: source.path)
      // A value takes no more than 8 bytes.
      guard shape.height * shape.width <= ImageLimits.arrayBytes / 8 / samples else {
        throw refuse(
          "size", "\(shape.height)x\(shape.width)x\(samples)", "at most \(ImageLimits.arrayBytes) bytes")
      }
      orientation = Orientation(rawValue: Int(tags.orientation)) ?? .upright
      description = ImageJDescription(
        withUnsafeBytes(of: tags.description) { Array($0.prefix { $0 != 0 }) })
    }

    /// Throws where the file can't hold what its tags announce.
    func requireContent(_ source: ByteSource) throws(FileError) {
      // How many times shorter than the pixels can they be? Deflate: 1032 times; LZW: 4096 bytes in 12 bits at most;
      // PackBits: 128 bytes in 2; JPEG: as in JPEG; zstd and LZMA: 2¹⁴ times, which only
      // an image of one value comes near to.
      let ratios: [Int32: Int] = [
        COMPRESSION_NONE: 1, COMPRESSION_LZW: 2731, COMPRESSION_ADOBE_DEFLATE: 1032,
        COMPRESSION_DEFLATE: 1032,
        COMPRESSION_PACKBITS: 64, COMPRESSION_JPEG: 2048, COMPRESSION_ZSTD: 1 << 14,
        COMPRESSION_LZMA: 1 << 14,
      ]
      guard let ratio = ratios[Int32(tags.compression)], TIFFIsCODECConfigured(tags.compression) != 0 else {
        throw source.malformed(
          "TIFF compression", Self.compressions[Int32(tags.compression)] ?? "number \(tags.compression)",
          "none, LZW, deflate, PackBits, JPEG, zstd or LZMA; libtiff converts it: tiffcp -c zip in.tif out.tif"
        )
      }
      let bytes = shape.height * rowBytes * planes
      try ImageLimits.check(pixelBytes: bytes, fileBytes: source.count, ratio: ratio, path: source.path)
      if isTiled {
        let (area, overflow) = Int(tags.tile_width).multipliedReportingOverflow(by: Int(tags.tile_height))
        // Tiles at the edge reach beyond it, and a small image may be within one.
        guard !overflow, tags.tile_height > 0, area <= max(4 * pixels, 1 << 20),
          Int(tags.tile_width) * samplesInPlane * bits % 8 == 0
        else {
          throw source.malformed(
            "TIFF tile", "\(tags.tile_height)x\(tags.tile_width)", "one for an image of \(shape)")
        }
        try ImageLimits.check(
          pixelBytes: area * samplesInPlane * bits / 8, fileBytes: source.count, ratio: ratio,
          path: source.path
        )
      }
    }

    /// Millimetres from pixel to pixel, by the resolution or by ImageJ's unit.
    var geometry: ImageGeometry? {
      let unit: Double? =
        switch Int32(tags.resolution_unit) {
        case RESUNIT_INCH: 25.4
        case RESUNIT_CENTIMETER: 10
        default: nil
        }
      let steps = [tags.x_resolution, tags.y_resolution].map {
        (description.unit ?? unit ?? .nan) / Double($0)
      }
      guard steps.allSatisfy({ $0.isFinite && $0 > 0 }) else { return nil }
      let (column, row) = orientation.swapsAxes ? (steps[1], steps[0]) : (steps[0], steps[1])
      return ImageGeometry(columnStep: column, rowStep: row, sliceStep: description.spacing)
    }

    /// The wanted pixels out of the stored samples, `[h, w, samples]` or, where planes are apart, `[samples, h, w]`, in rows
    /// of whole bytes.
    func pixels(_ raw: [UInt8], palette: [UInt8], _ source: ByteSource) throws(FileError) -> StoredPixels {
      switch type {
      case .uint8:
        var bytes = bits == 8 ? raw : unpacked(raw)
        if isPalette {
          let colours = palette.count / 3
          let scale = bits == 8 ? 1 : 255 / ((1 << bits) - 1)
          return .bytes(
            bytes.flatMap { byte in (0..<3).map { palette[min(Int(byte) / scale, colours - 1) * 3 + $0] } })
        }
        if isInverted { bytes = bytes.map { 255 - $0 } }
        return .bytes(try arranged(bytes, opaque: 255, source))
      case .uint16:
        var words = raw.withUnsafeBytes { bytes in
          (0..<(bytes.count / 2)).map { bytes.loadUnaligned(fromByteOffset: 2 * $0, as: UInt16.self) }
        }
        if isInverted { words = words.map { 65535 - $0 } }
        return .words(try arranged(words, opaque: 65535, source))
      default:
        var values = [Double](repeating: 0, count: raw.count / type.size)
        // libtiff has brought them into the machine's order.
        let header = ArrayHeader(
          format: "TIFF", type: type, bigEndian: UInt16(1).bigEndian == 1, fortranOrder: false, shape: [],
          offset: 0)
        header.forEachValue(raw) { values[$0] = $1 }
        return .values(try arranged(values, opaque: type == .uint32 ? Double(UInt32.max) : 1, source))
      }
    }

    /// Fewer than 8 bits each, the first in the highest, as bytes of the full scale.
    private func unpacked(_ raw: [UInt8]) -> [UInt8] {
      let perByte = 8 / bits
      let mask = UInt8((1 << bits) - 1)
      let inRow = shape.width * samplesInPlane
      return [UInt8](unsafeUninitializedCapacity: raw.count * perByte) { result, count in
        for start in stride(from: 0, to: raw.count, by: rowBytes) {
          for k in 0..<inRow {
            let value = raw[start + k / perByte] >> UInt8(8 - bits - k % perByte * bits) & mask
            result.initializeElement(at: count, to: value * (255 / mask))
            count += 1
          }
        }
      }
    }

    /// Channels last, without alpha.
    private func arranged<Value: Equatable>(
      _ samples: [Value], opaque: Value, _ source: ByteSource
    ) throws(FileError) -> [Value] {
      let stored = storedSamples
      let values =
        planes == 1
        ? samples
        : ImageLayout.channelsLast(
          samples, ImageShape(height: shape.height, width: shape.width, channels: stored))
      guard let alpha else { return values }
      return try StoredPixels.withoutAlpha(
        values, stored: stored, alpha: alpha, opaque: opaque, width: shape.width, path: source.path)
    }

    private static func type(
      bits: Int, format: Int32, _ refuse: (String, String, String) -> FileError
    ) throws(FileError) -> ElementType {
      switch (format, bits) {
      case (SAMPLEFORMAT_UINT, 1), (SAMPLEFORMAT_UINT, 2), (SAMPLEFORMAT_UINT, 4), (SAMPLEFORMAT_UINT, 8),
        (SAMPLEFORMAT_VOID, 8):
        return .uint8
      case (SAMPLEFORMAT_UINT, 16), (SAMPLEFORMAT_VOID, 16): return .uint16
      case (SAMPLEFORMAT_UINT, 32): return .uint32
      case (SAMPLEFORMAT_UINT, 64): return .uint64
      case (SAMPLEFORMAT_INT, 8): return .int8
      case (SAMPLEFORMAT_INT, 16): return .int16
      case (SAMPLEFORMAT_INT, 32): return .int32
      case (SAMPLEFORMAT_INT, 64): return .int64
      case (SAMPLEFORMAT_IEEEFP, 16): return .float16
      case (SAMPLEFORMAT_IEEEFP, 32): return .float32
      case (SAMPLEFORMAT_IEEEFP, 64): return .float64
      default:
        let kind =
          switch format {
          case SAMPLEFORMAT_UINT, SAMPLEFORMAT_INT, SAMPLEFORMAT_VOID: "integers"
          case SAMPLEFORMAT_IEEEFP: "floats"
          default: "complex numbers"
          }
        throw refuse(
          "type of value", "\(kind) of \(bits) bits",
          "integers of 1, 2, 4, 8, 16, 32 or 64 bits, or floats of 16, 32 or 64")
      }
    }

    private static let colours: [Int32: String] = [
      PHOTOMETRIC_MASK: "a mask", PHOTOMETRIC_SEPARATED: "CMYK", PHOTOMETRIC_YCBCR: "YCbCr without JPEG",
      PHOTOMETRIC_CIELAB: "CIELab", PHOTOMETRIC_ICCLAB: "ICC Lab", PHOTOMETRIC_ITULAB: "ITU Lab",
      PHOTOMETRIC_CFA: "of a camera's colour filter", PHOTOMETRIC_LOGL: "LogL", PHOTOMETRIC_LOGLUV: "LogLuv",
    ]

    private static let compressions: [Int32: String] = [
      COMPRESSION_CCITTRLE: "CCITT", COMPRESSION_CCITTFAX3: "CCITT Group 3",
      COMPRESSION_CCITTFAX4: "CCITT Group 4",
      COMPRESSION_OJPEG: "old JPEG", COMPRESSION_JBIG: "JBIG", COMPRESSION_LERC: "LERC",
      COMPRESSION_WEBP: "WebP", COMPRESSION_JP2000: "JPEG 2000", COMPRESSION_JXL: "JPEG XL",
      COMPRESSION_SGILOG: "SGI Log", COMPRESSION_SGILOG24: "SGI Log",
    ]
  }

  /// What ImageJ writes into a TIFF's description: lines of `key=value`.
  struct ImageJDescription {
    /// Millimetres of its unit.
    private(set) var unit: Double?
    /// Millimetres from slice to slice.
    private(set) var spacing: Double?
    /// Of the stack; 0 where it doesn't say.
    private(set) var images = 0

    init(_ bytes: [UInt8]) {
      guard bytes.starts(with: Array("ImageJ=".utf8)) else { return }
      var fields = [Substring: Substring]()
      for line in String(decoding: bytes, as: UTF8.self).split(separator: "\n") {
        guard let sign = line.firstIndex(of: "=") else { continue }
        fields[line[..<sign]] = line[line.index(after: sign)...]
      }
      images = fields["images"].flatMap { Int($0) } ?? 0
      unit =
        switch fields["unit"] {
        case "nm": 1e-6
        case "micron", "um", "µm", "\\u00B5m": 1e-3
        case "mm": 1
        case "cm": 10
        case "m", "meter": 1000
        case "inch", "in": 25.4
        default: nil
        }
      if let unit, let text = fields["spacing"], let value = Double(text), value > 0, value.isFinite {
        spacing = unit * value
      }
    }
  }
#endif
