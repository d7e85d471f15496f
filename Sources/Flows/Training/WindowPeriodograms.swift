import AIPOKernels

/// Sums over windows of the products of their values at all lags, by Fourier transforms of the windows between zeros.
struct WindowPeriodograms {
  let window: ImageShape
  private(set) var count = 0
  private let pairs: [(a: Int, b: Int)]
  private let transform: FourierTransform
  private let pairTransform: FourierTransform
  private var field: Tensor<Double>
  private var spectrum: Tensor<Double>
  /// `[2h, w + 1, pairs]` complex: `Σ conj(U_a) U_b`
  private var power: Tensor<Double>
  private let scratch = Scratch()

  init(_ window: ImageShape) throws(TensorError) {
    self.window = window
    pairs = LagCovariance.pairs(window.channels)
    // At lags within a window nothing meets around a torus of twice its size.
    func torus(_ channels: Int) -> ImageShape {
      ImageShape(height: 2 * window.height, width: 2 * window.width, channels: channels)
    }
    transform = try FourierTransform(torus(window.channels))
    pairTransform = try FourierTransform(torus(pairs.count))
    field = try Tensor(count: transform.shape.count)
    spectrum = try Tensor(count: transform.spectrumCount)
    power = try Tensor(count: pairTransform.spectrumCount)
  }

  mutating func add(_ value: (_ row: Int, _ column: Int, _ channel: Int) -> Double) throws {
    let c = window.channels
    count += 1
    try field.withMemory { field in
      for row in 0..<window.height {
        for column in 0..<window.width {
          let pixel = (row * transform.shape.width + column) * c
          for channel in 0..<c { field[pixel + channel] = value(row, column, channel) }
        }
      }
      try spectrum.withMemory { u in
        try transform.forward(field, into: u, scratch)
        power.withMemory { power in
          for (i, (a, b)) in pairs.enumerated() {
            for k in 0..<u.count / (2 * c) {
              let (p, q, place) = (2 * (k * c + a), 2 * (k * c + b), 2 * (k * pairs.count + i))
              power[place] += u[p] * u[q] + u[p + 1] * u[q + 1]
              power[place + 1] += u[p] * u[q + 1] - u[p + 1] * u[q]
            }
          }
        }
      }
    }
  }

  /// The mean products, divided by a window's pixels, with noise of some variance added to each channel, which may depend
  /// on the channels' mean variance.
  func covariance(noise: (_ meanVariance: Double) -> Double) throws -> LagCovariance {
    let (h, w) = (window.height, window.width)
    var products = try Tensor<Double>(count: pairTransform.shape.count)
    var power = self.power
    try power.withMemory { power in
      try products.withMemory { try pairTransform.backward(power, into: $0, scratch) }
    }
    let scale = 1 / Double(count * h * w)
    let variance =
      pairs.indices.reduce(0.0) { pairs[$1].a == pairs[$1].b ? $0 + scale * products[flat: $1] : $0 }
      / Double(window.channels)
    var values: [Float] = []
    for y in 1 - h..<h {
      for x in 1 - w..<w {
        let place = ((y + 2 * h) % (2 * h) * 2 * w + (x + 2 * w) % (2 * w)) * pairs.count
        for (i, (a, b)) in pairs.enumerated() {
          let own = y == 0 && x == 0 && a == b ? noise(variance) : 0
          values.append(Float(scale * products[flat: place + i] + own))
        }
      }
    }
    return LagCovariance(channels: window.channels, lagY: h - 1, lagX: w - 1, values: values)
  }
}
