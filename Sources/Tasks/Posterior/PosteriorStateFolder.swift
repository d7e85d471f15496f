import AIPOImaging
import AIPOKernels
import AIPOPlatform
import AIPOSolvers

/// A folder in which a sampling keeps how far each image is, a file an image: after a stop the same command goes on there, and
/// ends with the same bytes.
struct PosteriorStateFolder {
  private let path: String
  /// SHA-256 of what decides the draws, as numbers.
  private let fingerprint: [Double]
  /// What decides the draws.
  let words: String

  /// Makes the folder where there is none. Throws `unwritable`.
  init(_ path: String, _ sampling: PosteriorSampling) throws(FileError) {
    self.path = path
    let decides = sampling.task.settings.filter { !["level", "draws"].contains($0.0) }.map {
      "\($0.0)=\($0.1.compact)"
    }
    let text = ([sampling.model.source.checksum, "\(sampling.task.problem.seed)"] + decides).joined(
      separator: "\n")
    words = text
    fingerprint = SHA256.digest(Array(text.utf8)).map(Double.init)
    try Directory.make(path)
  }

  private func file(_ index: Int) -> String { "\(path)/image-\(index).npz" }

  /// Throws where nothing was kept of an image.
  func requireImage(_ index: Int) throws(TaskError) {
    guard access(file(index), F_OK) != 0 else { return }
    throw TaskError(
      .data, "\(file(index)) is missing: every rank and shard must use the same folder, and all be done")
  }

  /// How far an image is; nil where nothing was kept. Throws where what was kept is of other settings, or damaged.
  func read(_ index: Int, empty: PosteriorDraws, observation: Tensor<Double>) throws -> PosteriorState? {
    let file = file(index)
    guard access(file, F_OK) == 0 else { return nil }
    let arrays = try NPZFile.read(file, as: Double.self)
    guard let kept = arrays.first(where: { $0.name == "fingerprint" })?.array.elements, kept == fingerprint,
      arrays.first(where: { $0.name == "observation" })?.array.elements == observation.elements
    else {
      throw TaskError(
        .data,
        "\(file): it was kept by a run of other settings, expected the same; name another folder, or remove it"
      )
    }
    guard let state = try PosteriorState(arrays, empty: empty) else {
      throw TaskError(.data, "\(file): the state is damaged; remove it to begin anew")
    }
    return state
  }

  func write(_ state: PosteriorState, _ index: Int, observation: Tensor<Double>) throws {
    let arrays = try [("fingerprint", Tensor(fingerprint)), ("observation", observation)] + state.arrays()
    try NPZFile.write(arrays.map { (name: $0.0, array: $0.1) }, to: file(index))
  }
}
