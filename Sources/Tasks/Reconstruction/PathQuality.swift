import AIPOContinuation
import AIPOImaging
import AIPOKernels

/// The PSNR of the states of a run's paths, taken as the states come: a trace holds no images.
package final class PathQuality {
  private let truth: Tensor<Double>?
  private var values: [[Double?]]

  /// For a chunk; nothing is taken where the truth isn't known.
  init(_ chunk: ReconstructionInput.Chunk) {
    truth = chunk.truth
    values = [[Double?]](repeating: [], count: chunk.names.count)
  }

  func observe(_ states: [PathState]) {
    guard let truth else { return }
    for state in states {
      let psnr = try? ImageMetrics.psnr(
        Tensor(shape: [1] + truth.shape.dropFirst(), elements: state.pixels),
        truth: truth.rows([state.image]))
      values[state.image].append(psnr?.first ?? nil)
    }
  }

  /// One a state of the image's trace; empty where it isn't known.
  package func psnr(image: Int) -> [Double?] { values[image] }
}
