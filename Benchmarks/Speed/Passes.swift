import AIPO

private struct Passes: Sendable {
  let flow: Flow<Float>
  let latents: Tensor<Float>
  let images: Tensor<Float>
}

/// Every pass of a small Glow, for one image and for eight.
func passBenchmarks() {
  for batch in [1, 8] {
    let make: @Sendable () throws -> Passes = {
      let flow = try randomGlow(levels: 3, steps: 8, hidden: 128, size: 32, channels: 1)
      let latents = try flow.sampleLatents(indices: 0..<batch, temperature: 1, seed: 1)
      return Passes(flow: flow, latents: latents, images: try flow.decode(latents).images)
    }
    benchmark("forward, batch \(batch)", make: make) { _ = try $0.flow.encode($0.images) }
    benchmark("inverse, batch \(batch)", make: make) { _ = try $0.flow.decode($0.latents) }
    benchmark("pixel gradient, batch \(batch)", make: make) {
      _ = try $0.flow.evaluateWithGradient($0.images)
    }
    benchmark("latent gradient, batch \(batch)", make: make) {
      _ = try $0.flow.decodeGradient(
        at: $0.images, imageCotangent: $0.images, logDetCotangent: Array(repeating: 1, count: batch))
    }
    benchmark("training gradient, batch \(batch)", make: make) {
      var gradient: [Float] = []
      _ = try $0.flow.trainingGradient($0.images, gradient: &gradient)
    }
  }
}
