import AIPO

/// The models of a study's cells, each loaded once.
final class StudyModels {
  private struct Key: Hashable {
    var name: String
    var precision: Precision
  }

  private struct Loaded<Scalar: KernelScalar> {
    let prior: Prior<Scalar>
    let gaussian: GaussianDensity?
  }

  private let threads: Int?
  /// `Loaded` in the key's precision.
  private var loaded: [Key: Any] = [:]
  /// By the names in the YAML, empty for the default.
  private(set) var sources: [String: ModelSource] = [:]

  /// Throws where a model can't be loaded.
  init(_ cells: [StudyCell], common: CommonOptions) throws {
    threads = common.threads
    for cell in cells {
      let key = Self.key(cell)
      guard loaded[key] == nil else { continue }
      func load<Scalar>(_: Scalar.Type) throws -> Loaded<Scalar> {
        let prior = try Prior<Scalar>(options: cell.command.model, common: common)
        sources[key.name] = prior.source
        return Loaded(prior: prior, gaussian: try prior.gaussian())
      }
      loaded[key] =
        switch key.precision {
        case .float32: try load(Float.self)
        case .float64: try load(Double.self)
        }
    }
  }

  /// The job of a cell of the study, `Scalar` being its precision.
  func job<Scalar>(_ cell: StudyCell, as _: Scalar.Type) throws -> ReconstructionJob<Scalar> {
    guard let model = loaded[Self.key(cell)] as? Loaded<Scalar> else {
      preconditionFailure("the cell is one of the study's, in another precision")
    }
    let command = cell.command
    var common = command.common
    common.threads = threads
    return ReconstructionJob(
      prior: model.prior, gaussian: model.gaussian,
      input: try ReconstructionInput(
        command.observation, shape: model.prior.shape, seed: common.seed, common: common),
      solver: command.solver)
  }

  private static func key(_ cell: StudyCell) -> Key {
    Key(name: cell.command.model.model ?? "", precision: cell.command.common.precision)
  }
}
