import AIPOFlows
import AIPOKernels
import Foundation

/// A layer as a user would write it, without parameters: elementwise `y = x` for x ≥ 0, else `x·slope`.
final class LeakyLayer<Scalar: KernelScalar>: FlowLayer {
  private let slope: Scalar

  init(slope: Double) { self.slope = Scalar(slope) }

  private func scale(_ pass: FlowPass<Scalar>, by factor: Scalar, countsAs sign: Double) {
    let size = pass.shape.count
    for i in 0..<pass.count {
      var negative = 0
      for k in i * size..<(i + 1) * size where pass.values[k] < 0 {
        pass.values[k] *= factor
        negative += 1
      }
      pass.logDet[i] += sign * Double(negative) * log(Double(slope))
    }
  }

  private func back(_ pass: FlowPass<Scalar>, values factor: Scalar, cotangent cotangentFactor: Scalar) {
    for k in 0..<pass.values.count where pass.values[k] < 0 {
      pass.values[k] *= factor
      pass.cotangent[k] *= cotangentFactor
    }
  }

  func forward(_ pass: FlowPass<Scalar>) throws { scale(pass, by: slope, countsAs: 1) }
  func inverse(_ pass: FlowPass<Scalar>) throws { scale(pass, by: 1 / slope, countsAs: -1) }
  func forwardVJP(_ pass: FlowPass<Scalar>) throws { back(pass, values: 1 / slope, cotangent: slope) }
  func inverseVJP(_ pass: FlowPass<Scalar>) throws { back(pass, values: slope, cotangent: 1 / slope) }
}

/// A layer with parameters that rewrites its values: per pixel the reflection `y = x − 2v⟨v, x⟩/⟨v, v⟩`, its own inverse.
final class HouseholderLayer<Scalar: KernelScalar>: FlowLayer {
  private let c: Int
  private let vector: LayerParameter<Scalar>

  init(channels: Int) {
    c = channels
    vector = LayerParameter("vector", shape: [channels]) { random in
      (0..<channels).map { _ in random.normal() }
    }
  }

  var parameters: [LayerParameter<Scalar>] { [vector] }

  private func reflect(_ from: Memory<Scalar>, _ to: Memory<Scalar>) {
    precondition(from.count == to.count)
    let v = vector.values
    let factor = Scalar(2 / Kernel.dot(v, v))
    for p in 0..<from.count / c {
      let x = from[p * c..<(p + 1) * c]
      let along = factor * Scalar(Kernel.dot(v, x))
      for k in 0..<c { to[p * c + k] = x[k] - along * v[k] }
    }
  }

  /// `v̄ = −2/⟨v,v⟩ Σ (⟨v,ȳ⟩x + ⟨v,x⟩ȳ) + 4/⟨v,v⟩² Σ ⟨v,x⟩⟨v,ȳ⟩ v`; the log-determinant is zero.
  private func accumulate(_ x: Memory<Scalar>, _ g: Memory<Scalar>) {
    let v = vector.values
    let norm = Kernel.dot(v, v)
    for p in 0..<x.count / c {
      let (xp, gp) = (x[p * c..<(p + 1) * c], g[p * c..<(p + 1) * c])
      let (vx, vg) = (Kernel.dot(v, xp), Kernel.dot(v, gp))
      for k in 0..<c {
        let value =
          -2 / norm * (vg * Double(xp[k]) + vx * Double(gp[k])) + 4 / (norm * norm) * vx * vg * Double(v[k])
        vector.gradient[k] += Scalar(value)
      }
    }
  }

  func forward(_ pass: FlowPass<Scalar>) throws { pass.rewriteValues(to: pass.shape, reflect) }
  func inverse(_ pass: FlowPass<Scalar>) throws { pass.rewriteValues(to: pass.shape, reflect) }

  // The cotangent goes first here: values and cotangent may be brought over in either order.
  private func back(_ pass: FlowPass<Scalar>) throws {
    let output = pass.values
    let outputCotangent = pass.cotangent
    pass.rewriteCotangent(reflect)
    if pass.wantsParameterGradients {
      try pass.workspaces[0].scope {
        let input = try pass.workspaces[0].take(output.count)
        reflect(output, input)
        accumulate(input, outputCotangent)
      }
    }
    pass.rewriteValues(to: pass.shape, reflect)
  }

  func forwardVJP(_ pass: FlowPass<Scalar>) throws { try back(pass) }
  func inverseVJP(_ pass: FlowPass<Scalar>) throws { try back(pass) }
}
