#if TIFF
  import AIPOKernels
  import CAIPOTIFF

  /// A file open in libtiff, within limits.
  final class TIFFReader {
    private let source: ByteSource
    private let box: Unmanaged<Box>
    private let state: UnsafeMutablePointer<aipo_tiff_source>
    private let tiff: OpaquePointer

    /// What the callback reads from.
    private final class Box {
      let source: ByteSource
      init(_ source: ByteSource) { self.source = source }
    }

    /// What libtiff may allocate at once: a strip or tile, or the list of them.
    private static let allocation = 1 << 28

    /// At the first page.
    init(_ source: ByteSource) throws(FileError) {
      self.source = source
      box = Unmanaged.passRetained(Box(source))
      state = .allocate(capacity: 1)
      state.initialize(to: aipo_tiff_source())
      state.pointee.size = UInt64(source.count)
      state.pointee.context = UnsafeRawPointer(box.toOpaque())
      state.pointee.read = { context, offset, bytes, count in
        guard let context, let bytes, let offset = Int(exactly: offset) else { return 0 }
        let source = Unmanaged<Box>.fromOpaque(context).takeUnretainedValue().source
        let buffer = UnsafeMutableRawBufferPointer(start: bytes, count: count)
        // What became shorter meanwhile has no bytes there.
        return (try? source.read(at: offset, into: buffer)) == nil ? 0 : count
      }
      guard let tiff = aipo_tiff_open(state, Self.allocation) else {
        let message = Self.message(state)
        state.deallocate()
        box.release()
        throw Self.damaged(source, message)
      }
      self.tiff = tiff
    }

    deinit {
      TIFFClose(tiff)
      state.deallocate()
      box.release()
    }

    /// Of the current page.
    func tags() throws(FileError) -> aipo_tiff_page {
      var tags = aipo_tiff_page()
      guard aipo_tiff_describe(tiff, &tags) != 0 else { throw Self.damaged(source, "a page has no size") }
      return tags
    }

    /// Goes on to the next page; false where there is none.
    func advance() throws(FileError) -> Bool {
      if TIFFLastDirectory(tiff) != 0 { return false }
      guard TIFFReadDirectory(tiff) != 0 else { throw damaged }
      return true
    }

    func go(to offset: UInt64) throws(FileError) {
      guard TIFFCurrentDirOffset(tiff) == offset || TIFFSetSubDirectory(tiff, offset) != 0 else {
        throw damaged
      }
    }

    /// The current page's samples as they are stored, rows in whole bytes, planes one after another.
    func samples(_ layout: TIFFLayout) throws(FileError) -> [UInt8] {
      // Otherwise JPEG's YCbCr would come as it is.
      if Int32(layout.tags.compression) == COMPRESSION_JPEG { aipo_tiff_want_rgb(tiff) }
      state.pointee.warnings = 0
      let plane = layout.shape.height * layout.rowBytes
      var result = [UInt8](repeating: 0, count: plane * layout.planes)
      for index in 0..<layout.planes {
        try result.withUnsafeMutableBufferPointer { buffer throws(FileError) in
          let out = UnsafeMutableRawBufferPointer(
            UnsafeMutableBufferPointer(rebasing: buffer[(index * plane)..<((index + 1) * plane)]))
          if layout.isTiled {
            try tiles(layout, plane: UInt16(index), into: out)
          } else {
            try strips(layout, plane: UInt16(index), into: out)
          }
        }
      }
      // libjpeg fills up what is missing, and warns.
      guard Int32(layout.tags.compression) != COMPRESSION_JPEG || state.pointee.warnings == 0 else {
        throw Self.damaged(source, "JPEG data are missing")
      }
      return result
    }

    private func strips(
      _ layout: TIFFLayout, plane: UInt16, into out: UnsafeMutableRawBufferPointer
    ) throws(FileError) {
      let height = layout.shape.height
      let rows = min(Int(layout.tags.rows_per_strip), height)
      // Both ways of counting must agree, or a strip would be longer than we believe.
      guard rows > 0, TIFFVStripSize64(tiff, UInt32(rows)) == UInt64(rows * layout.rowBytes) else {
        throw Self.damaged(source, "strips of another size than their rows'")
      }
      for row in stride(from: 0, to: height, by: rows) {
        let size = min(rows, height - row) * layout.rowBytes
        let strip = TIFFComputeStrip(tiff, UInt32(row), plane)
        let target = out.baseAddress! + row * layout.rowBytes
        guard TIFFReadEncodedStrip(tiff, strip, target, tmsize_t(size)) == size else {
          throw damaged
        }
      }
    }

    private func tiles(
      _ layout: TIFFLayout, plane: UInt16, into out: UnsafeMutableRawBufferPointer
    ) throws(FileError) {
      let (height, width) = (Int(layout.tags.tile_height), Int(layout.tags.tile_width))
      let tileRow = width * layout.samplesInPlane * layout.bits / 8
      guard TIFFTileSize64(tiff) == UInt64(height * tileRow) else {
        throw Self.damaged(source, "tiles of another size than their rows'")
      }
      try MemoryLimit.require(height * tileRow, for: source.path)
      var tile = [UInt8](repeating: 0, count: height * tileRow)
      for y in stride(from: 0, to: layout.shape.height, by: height) {
        for x in stride(from: 0, to: layout.shape.width, by: width) {
          let index = TIFFComputeTile(tiff, UInt32(x), UInt32(y), 0, plane)
          guard TIFFReadEncodedTile(tiff, index, &tile, tmsize_t(tile.count)) == tile.count else {
            throw damaged
          }
          let start = x * layout.samplesInPlane * layout.bits / 8
          let count = min(tileRow, layout.rowBytes - start)
          tile.withUnsafeBytes { tile in
            for row in 0..<min(height, layout.shape.height - y) {
              UnsafeMutableRawBufferPointer(rebasing: out[((y + row) * layout.rowBytes + start)...])
                .copyMemory(
                  from: UnsafeRawBufferPointer(rebasing: tile[(row * tileRow)..<(row * tileRow + count)]))
            }
          }
        }
      }
    }

    /// The current page's colours, RGB one after another.
    func palette(_ layout: TIFFLayout) throws(FileError) -> [UInt8] {
      var (red, green, blue):
        (UnsafeMutablePointer<UInt16>?, UnsafeMutablePointer<UInt16>?, UnsafeMutablePointer<UInt16>?)
      guard aipo_tiff_palette(tiff, &red, &green, &blue) != 0, let red, let green, let blue else {
        throw Self.damaged(source, "there is no palette")
      }
      let colours = (0..<(1 << layout.bits)).flatMap { [red[$0], green[$0], blue[$0]] }
      // Some programs write 8 bits where 16 are meant.
      let isEightBit = colours.allSatisfy { $0 < 256 }
      return colours.map { UInt8($0 >> (isEightBit ? 0 : 8)) }
    }

    private var damaged: FileError { Self.damaged(source, Self.message(state)) }

    private static func message(_ state: UnsafeMutablePointer<aipo_tiff_source>) -> String {
      let text = withUnsafeBytes(of: state.pointee.message) { Array($0.prefix { $0 != 0 }) }
      return text.isEmpty ? "unreadable" : String(decoding: text, as: UTF8.self)
    }

    private static func damaged(_ source: ByteSource, _ how: String) -> FileError {
      source.malformed("TIFF", "damaged (\(how))", "a whole TIFF file")
    }
  }
#endif
