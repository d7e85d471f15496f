import AIPOKernels
import AIPOTasks

/// The models of a study's cells, each loaded once.
final class StudyModels {
  private struct Key: Hashable {
    var name: String
    var precision: Precision
  }

  private let threads: Int
  private var loaded: [Key: ReconstructionModel] = [:]
  /// By the names in the YAML, empty for the default.
  private(set) var sources: [String: ModelSource] = [:]

  /// Throws where a model can't be loaded.
  init(_ cells: [StudyPlan.Cell], threads: Int) throws {
    self.threads = threads
    for cell in cells {
      let key = Self.key(cell)
      guard loaded[key] == nil else { continue }
      let model = try ReconstructionModel(cell.task.model, precision: key.precision, threads: threads)
      sources[key.name] = model.source
      loaded[key] = model
    }
  }

  /// The reconstruction of a cell of the study.
  func reconstruction(_ cell: StudyPlan.Cell) throws -> Reconstruction {
    try Reconstruction(cell.task, model: loaded[Self.key(cell)], threads: threads)
  }

  private static func key(_ cell: StudyPlan.Cell) -> Key {
    Key(name: cell.task.model ?? "", precision: cell.task.precision)
  }
}
