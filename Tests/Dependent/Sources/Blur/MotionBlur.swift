import AIPO

/// A camera that moved across `length` pixels, down and to the right. Beyond its borders an image goes on as its reflection.
struct MotionBlur: LinearMap {
  let input: ImageShape
  let length: Int
  var output: ImageShape { input }

  func apply(_ x: Vector, into y: Vector, _ scratch: Scratch) {
    y.set(0)
    forEachRay { seen, source in y[seen] += x[source] / Double(length) }
  }

  func adjoint(_ u: Vector, into x: Vector, _ scratch: Scratch) {
    x.set(0)
    forEachRay { seen, source in x[source] += u[seen] / Double(length) }
  }

  private func forEachRay(_ body: (_ seen: Int, _ source: Int) -> Void) {
    func mirror(_ i: Int, _ n: Int) -> Int { min(i, 2 * n - 1 - i) }
    let (h, w, c) = (input.height, input.width, input.channels)
    for i in 0..<h * w * c {
      let (row, column, channel) = (i / c / w, i / c % w, i % c)
      for k in 0..<length { body(i, (mirror(row + k, h) * w + mirror(column + k, w)) * c + channel) }
    }
  }
}
