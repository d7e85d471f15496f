import AIPOImaging
import AIPOKernels
import AIPOSolvers

/// The PSNR of the states of a run's paths, taken as the states come: a trace holds no images.
package final class PathQuality {
  private let truth: Tensor<Double>?
  private let strips: Strips?
  /// Of each image, one a state.
  private var values: [Int: [Double?]] = [:]

  /// For a chunk; nothing is taken where the truth isn't known.
  init(_ chunk: ReconstructionInput.Chunk) { (truth, strips) = (chunk.truth, chunk.strips) }

  /// What was taken before, of each image.
  init(_ values: [[Double?]]) {
    (truth, strips) = (nil, nil)
    for (image, own) in values.enumerated() where !own.isEmpty { self.values[image] = own }
  }

  /// Takes the image at a state.
  func observe(_ image: Int, _ pixels: Vector) {
    guard let truth else { return }
    let psnr = try? ImageMetrics.psnr(
      pixels.tensor(shape: [1] + truth.shape.dropFirst()), truth: truth.rows([image]),
      strips: strips)
    values[image, default: []].append(psnr?.first ?? nil)
  }

  /// One a state of the image's trace; empty where it isn't known.
  package func psnr(image: Int) -> [Double?] { values[image] ?? [] }
}
