import AIPOPlatform

/// The Fourier transform of complex images `[h, w]` at any frequencies k = (ky, kx), in cycles a pixel:
///
///     X[j] = Σ x[n] e^(−2πi k_j·(n − c)),   c = (⌊h/2⌋, ⌊w/2⌋)
///
/// By a fast transform on a grid twice as fine, and from there by a Kaiser–Bessel window of `width` cells, to about 1e-12 of
/// the largest value. Sources: J. Fessler & B. Sutton, *Nonuniform fast Fourier transforms using min-max interpolation*, IEEE
/// Transactions on Signal Processing 51(2), 2003; P. Beatty, D. Nishimura & J. Pauly, *Rapid gridding reconstruction with a
/// minimal oversampling ratio*, IEEE Transactions on Medical Imaging 24(6), 2005, for the window's shape.
public final class NonuniformTransform: Sendable {
  public let height: Int
  public let width: Int
  /// Frequencies, m.
  public let count: Int
  private let grid: ComplexTransform
  /// Where a sample's window begins on the grid, before it is wound around, in rows and columns.
  private let starts: [SIMD2<Int32>]
  /// The window at each sample's rows and columns, `[m, 2, cells]`.
  private let weights: Tensor<Double>
  /// What the window does to the pixels of a row, undone: of rows and of columns.
  private let correction: (rows: [Double], columns: [Double])
  /// The samples whose window covers a grid row, each with the place in its window, in order.
  private let covering: [[(sample: Int32, cell: Int32)]]

  /// Cells of the window.
  private static let cells = 14
  private static let shape = Double.pi * (0.25 * Double(cells * cells) * 2.25 - 0.8).squareRoot()

  /// `frequencies`: (ky, kx) a sample, finite; whole numbers of cycles don't matter.
  ///
  /// Throws where there is no memory.
  public init(height: Int, width: Int, frequencies: [SIMD2<Double>]) throws(TensorError) {
    precondition(height > 0 && width > 0 && frequencies.count < Int32.max)
    (self.height, self.width, count) = (height, width, frequencies.count)
    let cells = Self.cells
    func size(_ n: Int) -> Int { FourierTransform.fastLength(max(2 * n, cells)) }
    let grid = try ComplexTransform(height: size(height), width: size(width))
    self.grid = grid
    let sizes = SIMD2(Double(grid.height), Double(grid.width))
    var starts: [SIMD2<Int32>] = []
    starts.reserveCapacity(count)
    var weights = try Tensor<Double>(count: 2 * cells * frequencies.count)
    var covering = [[(sample: Int32, cell: Int32)]](repeating: [], count: grid.height)
    weights.withMemory { weights in
      for (j, k) in frequencies.enumerated() {
        let place = (k - k.rounded(.down)) * sizes
        let first = (place - 0.5 * Double(cells)).rounded(.up)
        for axis in 0..<2 {
          for cell in 0..<cells {
            weights[(2 * j + axis) * cells + cell] = Self.window(place[axis] - first[axis] - Double(cell))
          }
        }
        starts.append(SIMD2(Int32(first.x), Int32(first.y)))
        for cell in 0..<cells {
          covering[Self.wound(Int(first.x) + cell, grid.height)].append((Int32(j), Int32(cell)))
        }
      }
    }
    (self.starts, self.weights, self.covering) = (starts, weights, covering)
    correction = (Self.correction(height, grid.height), Self.correction(width, grid.width))
  }

  /// The window at a distance in cells.
  private static func window(_ t: Double) -> Double {
    let u = 2 * t / Double(cells)
    guard u.magnitude <= 1 else { return 0 }
    return bessel(shape * (1 - u * u).squareRoot()) / bessel(shape)
  }

  /// 1 over the window's Fourier transform at the pixels of a line of n, around its middle.
  private static func correction(_ n: Int, _ gridSize: Int) -> [Double] {
    (0..<n).map { i in
      let turn = Double.pi * Double(cells) * Double(i - n / 2) / Double(gridSize)
      let root = (shape * shape - turn * turn).squareRoot()
      return bessel(shape) * root / (Double(cells) * sinh(root))
    }
  }

  /// I₀, by its power series.
  private static func bessel(_ x: Double) -> Double {
    let square = 0.25 * x * x
    var (term, sum, k) = (1.0, 1.0, 1.0)
    while term > 1e-18 * sum {
      term *= square / (k * k)
      sum += term
      k += 1
    }
    return sum
  }

  private static func wound(_ i: Int, _ n: Int) -> Int { (i % n + n) % n }

  /// Where pixel i of n lies on a grid whose first place is the middle.
  private static func shifted(_ i: Int, _ n: Int, _ gridSize: Int) -> Int { wound(i - n / 2, gridSize) }

  /// `X ←` the transform of x, m complex numbers.
  public func forward(_ x: Vector, into X: Vector, _ scratch: Scratch) throws {
    precondition(x.count == 2 * height * width && X.count == 2 * count)
    let gridWidth = grid.width
    try scratch.scope {
      let fine = try scratch.take(2 * grid.height * gridWidth)
      fine.set(0, scratch.pool)
      for i in 0..<height {
        let row = Self.shifted(i, height, grid.height) * gridWidth
        for j in 0..<width {
          let at = 2 * (row + Self.shifted(j, width, gridWidth))
          let factor = correction.rows[i] * correction.columns[j]
          fine[at] = factor * x[2 * (i * width + j)]
          fine[at + 1] = factor * x[2 * (i * width + j) + 1]
        }
      }
      try grid.apply(fine, backward: false, scratch)
      try gather(fine, into: X, scratch)
    }
  }

  /// `x[n] ← Σ_j X[j] e^(2πi k_j·(n − c))`, the conjugate transpose.
  public func adjoint(_ X: Vector, into x: Vector, _ scratch: Scratch) throws {
    precondition(x.count == 2 * height * width && X.count == 2 * count)
    try scratch.scope {
      let fine = try scratch.take(2 * grid.height * grid.width)
      try spread(X, into: fine, scratch)
      try grid.apply(fine, backward: true, scratch)
      for i in 0..<height {
        let row = Self.shifted(i, height, grid.height) * grid.width
        for j in 0..<width {
          let at = 2 * (row + Self.shifted(j, width, grid.width))
          let factor = correction.rows[i] * correction.columns[j]
          x[2 * (i * width + j)] = factor * fine[at]
          x[2 * (i * width + j) + 1] = factor * fine[at + 1]
        }
      }
    }
  }

  /// `X_j ←` the grid around sample j, by the window.
  private func gather(_ fine: Vector, into X: Vector, _ scratch: Scratch) throws {
    let (cells, gridWidth) = (Self.cells, grid.width)
    try scratch.pool.split(count, minimum: 256) { range, _ in
      for j in range {
        let weights = self.weights.view.base + 2 * cells * j
        var (re, im) = (0.0, 0.0)
        for a in 0..<cells {
          let row = fine.base + 2 * Self.wound(Int(starts[j].x) + a, grid.height) * gridWidth
          var (rowRe, rowIm) = (0.0, 0.0)
          var column = Self.wound(Int(starts[j].y), gridWidth)
          for b in 0..<cells {
            rowRe += weights[cells + b] * row[2 * column]
            rowIm += weights[cells + b] * row[2 * column + 1]
            column = column + 1 == gridWidth ? 0 : column + 1
          }
          re += weights[a] * rowRe
          im += weights[a] * rowIm
        }
        (X.base[2 * j], X.base[2 * j + 1]) = (re, im)
      }
    }
  }

  /// Every row of the grid sums the samples around it in their order, so that threads don't matter.
  private func spread(_ X: Vector, into fine: Vector, _ scratch: Scratch) throws {
    let (cells, gridWidth) = (Self.cells, grid.width)
    let weights = self.weights.view.base
    try scratch.pool.split(grid.height, minimum: 4) { range, _ in
      for r in range {
        let row = fine[2 * r * gridWidth..<2 * (r + 1) * gridWidth]
        row.set(0)
        for (sample, cell) in covering[r] {
          let j = Int(sample)
          let own = weights + 2 * cells * j
          let (re, im) = (own[Int(cell)] * X.base[2 * j], own[Int(cell)] * X.base[2 * j + 1])
          var column = Self.wound(Int(starts[j].y), gridWidth)
          for b in 0..<cells {
            row.base[2 * column] += own[cells + b] * re
            row.base[2 * column + 1] += own[cells + b] * im
            column = column + 1 == gridWidth ? 0 : column + 1
          }
        }
      }
    }
  }
}

/// `x ← FᴴF x` of a nonuniform transform F of complex images, which is a correlation with the samples' own response on twice
/// the image: two fast transforms, whatever the number of samples. (J. Fessler et al., *Toeplitz-based iterative image
/// reconstruction for MRI with correction for magnetic field inhomogeneity*, IEEE Transactions on Signal Processing 53(9), 2005)
public final class ToeplitzNormal: Sendable {
  private let height: Int
  private let width: Int
  private let transform: ComplexTransform
  /// Real, since the response is Hermitian.
  private let eigenvalues: Tensor<Double>
  /// The response `Σ_j e^(2πi k_j·n)` at distances −h ≤ ny < h, −w ≤ nx < w, complex, from −h, −w on.
  let response: Tensor<Double>

  public init(
    height: Int, width: Int, frequencies: [SIMD2<Double>], _ scratch: Scratch = Scratch()
  ) throws {
    (self.height, self.width) = (height, width)
    let samples = try NonuniformTransform(height: 2 * height, width: 2 * width, frequencies: frequencies)
    let transform = try ComplexTransform(height: 2 * height, width: 2 * width)
    var response = try Tensor<Double>(count: 8 * height * width)
    var eigenvalues = try Tensor<Double>(count: 4 * height * width)
    try scratch.scope {
      let ones = try scratch.take(2 * frequencies.count)
      let turned = try scratch.take(response.count)
      for j in 0..<frequencies.count { (ones[2 * j], ones[2 * j + 1]) = (1, 0) }
      try response.withMemory { response in
        try samples.adjoint(ones, into: response, scratch)
        // What wraps around at exactly half the torus stands for both directions.
        for i in 0..<2 * height {
          for j in 0..<2 * width {
            let from = 2 * (i * 2 * width + j)
            let to = 2 * ((i + height) % (2 * height) * 2 * width + (j + width) % (2 * width))
            let isEdge = i == 0 || j == 0
            turned[to] = isEdge ? 0 : response[from]
            turned[to + 1] = isEdge ? 0 : response[from + 1]
          }
        }
      }
      try transform.apply(turned, backward: false, scratch)
      let scale = 1 / Double(4 * height * width)
      eigenvalues.withMemory { values in
        for k in 0..<values.count { values[k] = scale * turned[2 * k] }
      }
    }
    (self.transform, self.eigenvalues, self.response) = (transform, eigenvalues, response)
  }

  /// `y ← FᴴF x`, complex images. y may be x.
  public func apply(_ x: Vector, into y: Vector, _ scratch: Scratch) throws {
    precondition(x.count == 2 * height * width && y.count == x.count)
    try scratch.scope {
      let wide = try scratch.take(8 * height * width)
      wide.set(0, scratch.pool)
      for i in 0..<height {
        wide[4 * i * width..<4 * i * width + 2 * width].set(x[2 * i * width..<2 * (i + 1) * width])
      }
      try transform.apply(wide, backward: false, scratch)
      for k in 0..<eigenvalues.count {
        wide.base[2 * k] *= eigenvalues.view.base[k]
        wide.base[2 * k + 1] *= eigenvalues.view.base[k]
      }
      try transform.apply(wide, backward: true, scratch)
      for i in 0..<height {
        y[2 * i * width..<2 * (i + 1) * width].set(wide[4 * i * width..<4 * i * width + 2 * width])
      }
    }
  }

  /// The nearest operator that acts on every frequency of the image's own torus by itself and on real and imaginary parts
  /// alike, times a factor: its eigenvalues, 0 at least. (T. Chan, *An optimal circulant preconditioner for Toeplitz systems*,
  /// 1988)
  public func near(_ shape: ImageShape, times factor: Double, _ scratch: Scratch) throws -> Spectrum {
    let (h, w) = (height, width)
    let plane = try FourierTransform(ImageShape(height: h, width: w, channels: 1))
    var values = try Tensor<Double>(count: h * (w / 2 + 1))
    try scratch.scope {
      let row = try scratch.take(h * w)
      let spectrum = try scratch.take(plane.spectrumCount)
      func response(_ y: Int, _ x: Int) -> Double { self.response[flat: 2 * ((y + h) * 2 * w + x + w)] }
      for y in 0..<h {
        for x in 0..<w {
          // Means over the diagonals that meet on the torus.
          let (a, b) = (Double(h - y) / Double(h), Double(w - x) / Double(w))
          var sum = a * b * response(y, x)
          if y > 0 { sum += (1 - a) * b * response(y - h, x) }
          if x > 0 { sum += a * (1 - b) * response(y, x - w) }
          if y > 0, x > 0 { sum += (1 - a) * (1 - b) * response(y - h, x - w) }
          row[y * w + x] = sum
        }
      }
      try plane.forward(row, into: spectrum, scratch)
      values.withMemory { values in
        for k in 0..<values.count { values[k] = factor * max(spectrum[2 * k], 0) }
      }
    }
    return Spectrum(try FourierTransform(shape), values: values)
  }
}
