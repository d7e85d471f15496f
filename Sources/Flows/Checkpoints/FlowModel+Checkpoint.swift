import AIPOKernels

extension FlowModel {
  /// Of a checkpoint, the tensors are those that the next step starts from; takes those that the training would end
  /// with, the averaged ones, and how far it has come.
  mutating func takeAverage(of file: Safetensors) throws(FileError) {
    let progress = try TrainingCheckpoint<Float>.progress(file, path: path)
    figures.steps = progress.step
    figures.rollbacks = progress.rollbacks
    figures.validation = progress.validation
    guard let average = file["optimizer.average"] else { return }
    do {
      tensors =
        average.values.dtype == .float64
        ? try averaged(average.scalars(as: Double.self)) : try averaged(average.scalars(as: Float.self))
    } catch {
      throw .malformed(
        path: path, what: "the averaged flow", found: "unusable (\(error))",
        expected: "parameters of its spec")
    }
  }

  private func averaged<Scalar: KernelScalar>(_ parameters: [Scalar]) throws -> [NamedTensor] {
    let flow: Flow<Scalar> = try makeFlow(threads: 1)
    try flow.setParameters(parameters)
    return flow.namedTensors
  }
}
