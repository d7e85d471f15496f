import AIPOKernels
import AIPOPriors

/// What the coils of a scanner see of every pixel, complex factors, and whether images have one channel of real values or two,
/// real and imaginary parts.
struct CoilSensitivities: Sendable {
  let image: ImageShape
  let count: Int
  /// `[coils, h, w, 2]`; nil for one coil that sees everything alike.
  private let factors: Tensor<Double>?

  /// Throws where images have other channels, or the factors another shape or values that aren't finite.
  init(_ image: ImageShape, factors: Tensor<Double>?) throws(ProblemError) {
    guard image.channels == 1 || image.channels == 2 else {
      throw .shapeMismatch(
        what: "images of an MRI", found: [image.height, image.width, image.channels],
        expected: [image.height, image.width, 2])
    }
    if let factors {
      let found = factors.shape
      guard found.count == 4, found[0] > 0, Array(found.dropFirst()) == [image.height, image.width, 2] else {
        throw .shapeMismatch(
          what: "sensitivities of the coils", found: found,
          expected: [found.first ?? 1, image.height, image.width, 2])
      }
      guard factors.view.isFinite() else {
        throw .invalidParameter(name: "a coil's sensitivity", value: .nan, expected: "finite numbers")
      }
    }
    (self.image, self.factors) = (image, factors)
    count = factors?.shape[0] ?? 1
  }

  /// Whether there is nothing but one coil that sees all alike.
  var isTrivial: Bool { factors == nil }

  /// The sum over coils of the mean square of their factors.
  var gain: Double { factors.map { $0.view.dot($0.view) / Double(image.height * image.width) } ?? 1 }

  private func factor(_ coil: Int, _ pixel: Int) -> (re: Double, im: Double) {
    guard let factors else { return (1, 0) }
    let at = 2 * (coil * image.height * image.width + pixel)
    return (factors[flat: at], factors[flat: at + 1])
  }

  /// Runs `body` coil by coil with a complex image: what the coil sees of x, if there is an x. What `body` leaves there goes
  /// by the adjoint into `sum`, if there is one; pixel p of x and `sum` is at place(p) of the complex image.
  func each(
    of x: Vector? = nil, into sum: Vector? = nil, at place: (_ pixel: Int) -> Int = { $0 },
    _ scratch: Scratch,
    _ body: (_ coil: Int, _ image: Vector) throws -> Void
  ) throws {
    sum?.set(0, scratch.pool)
    try scratch.scope {
      let complex = try scratch.take(2 * image.height * image.width)
      for coil in 0..<count {
        if let x { see(x, coil: coil, into: complex, at: place) }
        try body(coil, complex)
        if let sum { add(complex, coil: coil, to: sum, at: place) }
      }
    }
  }

  /// `z ←` what a coil sees of x, complex numbers; pixel p of the image goes to place(p).
  private func see(_ x: Vector, coil: Int, into z: Vector, at place: (_ pixel: Int) -> Int) {
    for pixel in 0..<image.height * image.width {
      let (re, im) = image.channels == 1 ? (x[pixel], 0) : (x[2 * pixel], x[2 * pixel + 1])
      let (a, b) = factor(coil, pixel)
      let to = 2 * place(pixel)
      z[to] = a * re - b * im
      z[to + 1] = a * im + b * re
    }
  }

  /// Adds the adjoint of `see`.
  private func add(_ z: Vector, coil: Int, to x: Vector, at place: (_ pixel: Int) -> Int) {
    for pixel in 0..<image.height * image.width {
      let from = 2 * place(pixel)
      let (re, im) = (z[from], z[from + 1])
      let (a, b) = factor(coil, pixel)
      if image.channels == 1 {
        x[pixel] += a * re + b * im
      } else {
        x[2 * pixel] += a * re + b * im
        x[2 * pixel + 1] += a * im - b * re
      }
    }
  }
}
