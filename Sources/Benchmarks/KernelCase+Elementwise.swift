import AIPOKernels

extension KernelCase {
  /// Everything but convolutions, on eight images of 32×32×12.
  static var elementwise: [KernelCase] { actnorms + couplings + maps + moves + updates }

  private static var images: Int { 8 }
  private static var side: Int { 32 }
  private static var channels: Int { 12 }
  private static var imageShape: ImageShape { ImageShape(height: side, width: side, channels: channels) }
  private static var count: Int { images * side * side * channels }

  /// `moved`: times that an array of `count` values is read or written.
  private static func elementwise(
    _ kernel: String, moved: Double, terms: Int = 1,
    _ prepare: @escaping (KernelArrays<Scalar>) throws -> () -> Void
  ) -> KernelCase {
    KernelCase(
      kernel: kernel, shape: "\(images)×\(side)×\(side)×\(channels)",
      bytes: moved * Double(count * MemoryLayout<Scalar>.stride), terms: terms, prepare: prepare)
  }

  private static func name(_ kernel: String, _ direction: Kernel<Scalar>.Direction) -> String {
    direction == .forward ? kernel : kernel + " inverse"
  }

  private static var directions: [Kernel<Scalar>.Direction] { [.forward, .inverse] }

  private static var actnorms: [KernelCase] {
    directions.flatMap { direction in
      [
        elementwise(name("actnorm", direction), moved: 2) { arrays in
          let x = try arrays.random(count)
          let (bias, scale) = (try arrays.random(channels), try arrays.random(channels, scale: 0.3))
          return { Kernel.actnorm(x, direction, bias: bias, logScale: scale) }
        },
        elementwise(name("actnorm", direction) + " vjp", moved: 4, terms: count / channels) { arrays in
          let (y, cotangent) = (try arrays.random(count), try arrays.random(count))
          let (bias, scale) = (try arrays.random(channels), try arrays.random(channels, scale: 0.3))
          let sums = (try arrays.doubleZeros(channels), try arrays.doubleZeros(channels))
          return {
            Kernel.actnormVJP(
              y, cotangent: cotangent, direction, bias: bias, logScale: scale, biasGradient: sums.0,
              logScaleGradient: sums.1)
          }
        },
      ]
    }
  }

  private static var couplings: [KernelCase] {
    let rows = images * side
    return [("sigmoid", Kernel<Scalar>.Affine.Scale.sigmoid), ("exp", .boundedExponential)].flatMap {
      (scaleName, scale) -> [KernelCase] in
      let affine = Kernel<Scalar>.Affine(scale)
      let shape = Kernel<Scalar>.CouplingShape(
        parity: nil, height: side, width: side, channels: channels / 2, stride: channels)
      return directions.flatMap { direction -> [KernelCase] in
        let name = name("affine \(scaleName)", direction)
        return [
          elementwise(name, moved: 2, terms: side * channels / 2) { arrays in
            let (head, x) = (try arrays.random(count), try arrays.random(count))
            let logDet = try arrays.doubleZeros(rows)
            return {
              Kernel.affine(
                affine, shape, direction, rows: 0..<rows, head: head, values: x, logDetRows: logDet)
            }
          },
          elementwise(name + " vjp", moved: 3.5) { arrays in
            let slopes = try arrays.random(rows * side * channels / 2 * affine.slopeCount)
            let (cotangent, headCotangent) = (try arrays.random(count), try arrays.zeros(count))
            let logDet = try arrays.doubleZeros(images)
            return {
              Kernel.affineVJP(
                affine, shape, direction, rows: 0..<rows, slopes: slopes, logDetCotangent: logDet,
                cotangent: cotangent, headCotangent: headCotangent)
            }
          },
        ]
      }
    }
  }

  private static var maps: [KernelCase] {
    [
      elementwise("logistic", moved: 2, terms: count) { arrays in
        let (x, logDet) = (try arrays.random(count), try arrays.doubleZeros(1))
        return { Kernel.logistic(x, logDet: &logDet[0]) }
      },
      elementwise("logistic inverse", moved: 2, terms: count) { arrays in
        let (y, logDet) = (try arrays.uniform(count), try arrays.doubleZeros(1))
        return { Kernel.logisticInverse(y, logDet: &logDet[0]) }
      },
      elementwise("silu", moved: 2) { arrays in
        let (u, y) = (try arrays.random(count), try arrays.zeros(count))
        return { Kernel.silu(u, into: y) }
      },
      elementwise("silu and its slope", moved: 3) { arrays in
        let (u, y, slopes) = (try arrays.random(count), try arrays.zeros(count), try arrays.zeros(count))
        return { Kernel.silu(u, into: y, slopes: slopes) }
      },
    ]
  }

  private static var moves: [KernelCase] {
    let shape = imageShape
    return [
      elementwise("squeeze", moved: 2) { arrays in
        let (x, z) = (try arrays.random(count), try arrays.zeros(count))
        return { Kernel.squeeze(x, shape: shape, rows: 0..<images * side / 2, into: z) }
      },
      elementwise("unsqueeze", moved: 2) { arrays in
        let (z, x) = (try arrays.random(count), try arrays.zeros(count))
        return { Kernel.unsqueeze(z, shape: shape, rows: 0..<images * side / 2, into: x) }
      },
      elementwise("copy channels", moved: 1) { arrays in
        let (x, y) = (try arrays.random(count), try arrays.zeros(count / 2))
        return {
          Kernel.copyChannels(
            channels / 2, pixels: count / channels, from: x, stride: channels, to: y, stride: channels / 2)
        }
      },
      elementwise("checkerboard", moved: 2) { arrays in
        let (x, y) = (try arrays.random(count), try arrays.zeros(count))
        return {
          Kernel.checkerboard(x, parity: 0, shape: shape, rows: 0..<images * side, adding: false, into: y)
        }
      },
    ]
  }

  private static var updates: [KernelCase] {
    [
      elementwise("dot", moved: 2, terms: count) { arrays in
        let (x, y) = (try arrays.random(count), try arrays.random(count))
        let result = try arrays.doubleZeros(1)
        return { result[0] = Kernel.dot(x, y) }
      },
      elementwise("add", moved: 3) { arrays in
        let (x, y) = (try arrays.random(count), try arrays.random(count))
        return { Kernel.add(x, to: y) }
      },
    ]
  }
}
