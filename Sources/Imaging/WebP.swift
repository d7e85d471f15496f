#if WebP
  import AIPOKernels
  import CAIPOWebP

  /// WebP pictures, lossy and lossless, read as RGB. An alpha channel is dropped where every pixel is opaque and refused
  /// otherwise; animations are refused.
  enum WebP {
    /// Of a whole file, or of its beginning.
    static func header(_ bytes: [UInt8], path: String) throws(FileError) -> ImageShape {
      let features = try features(bytes, path: path)
      let shape = ImageShape(height: Int(features.height), width: Int(features.width), channels: 3)
      try ImageLimits.check(shape, path: path)
      return shape
    }

    static func decode(_ bytes: [UInt8], path: String) throws(FileError) -> (ImageShape, [UInt8]) {
      let shape = try header(bytes, path: path)
      let stored = try features(bytes, path: path).has_alpha == 0 ? 3 : 4
      let rowBytes = shape.width * stored
      // A picture of one colour takes no bits a pixel; with this 4096x4096 of it in 768 bytes are believed.
      try ImageLimits.check(
        pixelBytes: shape.height * rowBytes, fileBytes: bytes.count, ratio: 1 << 16, path: path)
      try MemoryLimit.require(2 * shape.height * rowBytes, for: path)
      var pixels = [UInt8](repeating: 0, count: shape.height * rowBytes)
      let decode = stored == 3 ? WebPDecodeRGBInto : WebPDecodeRGBAInto
      guard decode(bytes, bytes.count, &pixels, pixels.count, Int32(rowBytes)) != nil else {
        throw .malformed(path: path, what: "WebP", found: "damaged", expected: "a whole WebP image")
      }
      if stored == 4 {
        pixels = try StoredPixels.withoutAlpha(
          pixels, stored: 4, alpha: 3, opaque: 255, width: shape.width, path: path)
      }
      return (shape, pixels)
    }

    private static func features(_ bytes: [UInt8], path: String) throws(FileError) -> WebPBitstreamFeatures {
      var features = WebPBitstreamFeatures()
      guard
        WebPGetFeaturesInternal(bytes, bytes.count, &features, WEBP_DECODER_ABI_VERSION) == VP8_STATUS_OK,
        features.width > 0, features.height > 0
      else { throw .malformed(path: path, what: "WebP", found: "damaged", expected: "a whole WebP image") }
      guard features.has_animation == 0 else {
        throw .malformed(path: path, what: "WebP", found: "an animation", expected: "a single picture")
      }
      return features
    }
  }
#endif
