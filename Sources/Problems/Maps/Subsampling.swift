import AIPOKernels
import AIPOPriors

/// `f(x)` keeps every k-th pixel in rows and columns, from `first` on, with all its channels.
public struct Subsampling: LinearMap {
  public let input: ImageShape
  public let output: ImageShape
  public let factor: Int
  public let first: Int
  public let normal: NormalForm

  public init(_ shape: ImageShape, factor k: Int, first: Int = 0) throws(ProblemError) {
    try requireParameter("the scale", Double(k), in: 1...1e6)
    func count(_ n: Int) -> Int { first < n ? (n - first + k - 1) / k : 0 }
    precondition(first >= 0)
    (input, factor, self.first) = (shape, k, first)
    output = ImageShape(height: count(shape.height), width: count(shape.width), channels: shape.channels)
    func isKept(_ i: Int) -> Bool { i >= first && (i - first) % k == 0 }
    normal = .pixelwise(
      try memory { () throws(TensorError) in
        var seen = try Tensor(count: shape.count)
        seen.withMemory { seen in
          for i in 0..<seen.count {
            let pixel = i / shape.channels
            if isKept(pixel / shape.width), isKept(pixel % shape.width) { seen[i] = 1 }
          }
        }
        return seen
      })
  }

  /// Runs `body` for the kept pixels.
  private func forEach(_ scratch: Scratch, _ body: (_ kept: Range<Int>, _ source: Range<Int>) -> Void) throws
  {
    let c = input.channels
    try scratch.pool.split(output.height, minimum: 16) { range, _ in
      for i in range {
        for j in 0..<output.width {
          let kept = (i * output.width + j) * c
          let source = ((first + i * factor) * input.width + first + j * factor) * c
          body(kept..<kept + c, source..<source + c)
        }
      }
    }
  }

  public func apply(_ x: Vector, into y: Vector, _ scratch: Scratch) throws {
    precondition(x.count == input.count && y.count == output.count)
    try forEach(scratch) { y[$0].set(x[$1]) }
  }

  public func adjoint(_ u: Vector, into x: Vector, _ scratch: Scratch) throws {
    precondition(u.count == output.count && x.count == input.count)
    x.set(0, scratch.pool)
    try forEach(scratch) { x[$1].set(u[$0]) }
  }
}
