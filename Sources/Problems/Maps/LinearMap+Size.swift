import AIPOKernels
import AIPOPriors

extension LinearMap {
  /// The mean of the diagonal of AᵀA, `‖A‖²_F/d`: by what is known of AᵀA, else by four vectors of random signs, with a
  /// relative error of about 1/√(2d).
  public func meanSquare(_ scratch: Scratch) throws -> Double {
    let d = Double(max(scratch.pool.strips?.place(of: input.count).whole ?? input.count, 1))
    switch normal {
    case .pixelwise(let diagonal): return diagonal.view.total(scratch.pool) / d
    case .dense(let matrix): return matrix.withColumns { Vector(reading: $0).dot(Vector(reading: $0)) } / d
    case .stationary(let spectrum): return spectrum.mean()
    case .unknown:
      return try scratch.scope {
        let signs = try scratch.take(input.count)
        let image = try scratch.take(output.count)
        var random = Philox(seed: 0, purpose: .curvature)
        return try (0..<4).reduce(0.0) { sum, _ in
          signs.setSigns(&random, scratch.pool)
          try apply(signs, into: image, scratch)
          return sum + image.dot(image, scratch.pool) / (4 * d)
        }
      }
    }
  }

  /// `‖A‖²`, the greatest eigenvalue of AᵀA: by what is known of it, else by Lanczos' method.
  public func squaredNorm(_ scratch: Scratch) throws -> Double {
    switch normal {
    case .pixelwise(let diagonal): diagonal.elements.max() ?? 0
    case .stationary(let spectrum): spectrum.extent.upperBound
    case .dense, .unknown:
      try Lanczos.greatestEigenvalue(order: input.count, scratch) { p, y in
        try applyNormal(p, into: y, scratch)
      }
    }
  }
}
