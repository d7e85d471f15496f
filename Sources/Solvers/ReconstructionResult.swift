import AIPOKernels
import AIPOProblems

/// One reconstructed image.
public struct ReconstructionResult: Sendable, Codable {
  /// The image's place in the problem.
  public internal(set) var index: Int
  /// `[h, w, c]`, finite always. Where nothing finite was found it is the start point.
  public let image: Tensor<Double>
  /// `recon + lambda·reg`, nats, all constants; nil with `reg` where the prior isn't finite at the image.
  public let objective: Double?
  public let recon: Double
  /// R_flow, the flow's −log p in full, whatever the method.
  public let reg: Double?
  /// R_gauss, the Gaussian's −log p in full; nil where the target has no part of it.
  public let gaussian: Double?
  /// How far the image is from the observation in units of what the noise leads to expect, `NoiseModel.misfit`.
  public let misfit: Double
  public let lambda: Double
  /// t at the target.
  public let flowShare: Double
  /// Evaluations of the flow; accepted steps of all solves.
  public let evaluations: Int
  public let iterations: Int
  public let seconds: Double
  public let converged: Bool
  public let reason: PathStop
  /// `lambda`, `prior`, `noise`, `curve`, `theorem`, or the method where it follows none.
  public let path: String
  /// How a problem that isn't linear was begun; nil of others.
  public let starts: StartSearch?
  /// The states on the way.
  public let trace: [PathState]

  /// The target's prior, `(1 − t) R_gauss + t R_flow` at t = `flowShare`.
  public var targetReg: Double? { weights.regularizer(flow: reg, gaussian: gaussian) }

  /// What is minimised in the end, `recon + lambda·targetReg`; the `objective` where `flowShare` is 1.
  public var target: Double? { targetReg.map { recon + lambda * $0 } }

  /// The target's prior at a state on the way; nil where a term of it wasn't evaluated.
  public func targetReg(at state: PathState) -> Double? {
    weights.regularizer(flow: state.flow, gaussian: state.gaussian)
  }

  /// The same at another place in a problem.
  package func at(_ index: Int) -> ReconstructionResult {
    var result = self
    result.index = index
    return result
  }

  private var weights: ObjectiveWeights { ObjectiveWeights(lambda: lambda, t: flowShare) }
}

/// What is going on, for a progress line.
public struct ReconstructionProgress: Sendable {
  public let finished: Int
  public let total: Int
  /// Evaluations so far, of all images.
  public let evaluations: Int
  /// Means over the images at work; nil where none has a state.
  public let lambda: Double?
  public let t: Double?
  public let objective: Double?
}

/// Callbacks of a reconstruction. They are called one at a time, but from any thread that solves an image.
public struct ReconstructionObserver {
  /// Called with each state of an image (its place in the problem) and the image there, which may not be kept.
  public var onState: (_ image: Int, _ state: PathState, _ pixels: Vector) -> Void
  /// Called as images are done, in their order.
  public var onResult: (ReconstructionResult) throws -> Void
  public var onProgress: (ReconstructionProgress) -> Void
  /// Asked before every evaluation, by all threads at once; true ends the work with what there is.
  public var isCancelled: () -> Bool

  public init(
    onState: @escaping (_ image: Int, _ state: PathState, _ pixels: Vector) -> Void = { _, _, _ in },
    onResult: @escaping (ReconstructionResult) throws -> Void = { _ in },
    onProgress: @escaping (ReconstructionProgress) -> Void = { _ in },
    isCancelled: @escaping () -> Bool = { false }
  ) {
    self.onState = onState
    self.onResult = onResult
    self.onProgress = onProgress
    self.isCancelled = isCancelled
  }
}
