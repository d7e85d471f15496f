import AIPOFlows
import AIPOInverseProblems
import AIPOKernels
import AIPOTasks

/// The models of a study's cells, each loaded once.
final class StudyModels {
  private struct Key: Hashable {
    var name: String
    var precision: Precision
  }

  private struct Loaded<Scalar: KernelScalar> {
    let prior: LoadedModel<Scalar>
    let gaussian: GaussianDensity?
  }

  private let threads: Int
  /// `Loaded` in the key's precision.
  private var loaded: [Key: Any] = [:]
  /// By the names in the YAML, empty for the default.
  private(set) var sources: [String: ModelSource] = [:]

  /// Throws where a model can't be loaded.
  init(_ cells: [StudyPlan.Cell], threads: Int) throws {
    self.threads = threads
    for cell in cells {
      let key = Self.key(cell)
      guard loaded[key] == nil else { continue }
      func load<Scalar>(_: Scalar.Type) throws -> Loaded<Scalar> {
        let prior = try LoadedModel<Scalar>(cell.task.model, threads: threads)
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

  /// The reconstruction of a cell of the study, `Scalar` being its precision.
  func reconstruction<Scalar>(_ cell: StudyPlan.Cell, as _: Scalar.Type) throws -> Reconstruction<Scalar> {
    guard let model = loaded[Self.key(cell)] as? Loaded<Scalar> else {
      preconditionFailure("the cell is one of the study's, in another precision")
    }
    return try Reconstruction(cell.task, prior: model.prior, gaussian: model.gaussian, threads: threads)
  }

  private static func key(_ cell: StudyPlan.Cell) -> Key {
    Key(name: cell.task.model ?? "", precision: cell.task.precision)
  }
}
