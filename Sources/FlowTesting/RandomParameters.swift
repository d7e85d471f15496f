import AIPOFlows
import AIPOKernels

/// Adds normal numbers of deviation `scale` to all parameters of a flow, so that none keeps the zero that it may start
/// with: a coupling whose net ends in zeros is the identity, and hides wrong gradients.
///
/// - Throws: `FlowError.unusableParameters` if the flow doesn't take the new parameters.
public func randomizeParameters<Scalar>(of flow: Flow<Scalar>, seed: UInt64, scale: Double = 0.1) throws {
  var random = Philox(seed: seed, purpose: .test)
  try flow.setParameters(flow.parameters.map { $0 + Scalar(scale * random.normal()) })
}
