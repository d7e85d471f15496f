import CAIPOFFT

/// The discrete Fourier transform of complex images `[h, w]` as pairs (re, im), in place, any height and width, with
/// e^(−2πi…) forward and e^(+2πi…) backward, no factors. The same bits on any number of threads.
final class ComplexTransform: Sendable {
  let height: Int
  let width: Int
  private let rows: Plan
  private let columns: Plan

  /// Throws where there is no memory.
  init(height: Int, width: Int) throws(TensorError) {
    (self.height, self.width) = (height, width)
    rows = try Plan(length: width)
    columns = try Plan(length: height)
  }

  /// Throws where there is no memory for temporaries.
  func apply(_ x: Vector, backward: Bool, _ scratch: Scratch) throws {
    precondition(x.count == 2 * height * width)
    let direction: Int32 = backward ? 1 : 0
    try rows.split(height, scratch) { range, work in
      aipo_fft_lines(
        rows.plan, direction, range.count, width, 1, x.base + 2 * range.lowerBound * width, work)
    }
    try columns.split(width, scratch) { range, work in
      aipo_fft_lines(columns.plan, direction, range.count, 1, width, x.base + 2 * range.lowerBound, work)
    }
  }
}
