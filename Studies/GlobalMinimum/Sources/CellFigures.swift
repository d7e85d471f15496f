import AIPO
import Foundation

/// What is kept of a cell: a file, so that a study that was stopped goes on where it was.
struct CellFigures: Codable {
  let problems: Int
  let seed: UInt64
  let steps: Int
  /// By method and problem: nats above the lowest that is known, nil where nothing finite was found; nil where the
  /// method doesn't apply.
  let excess: [[Double?]?]
  let evaluations: [[Int]?]
  /// Different minima within 10 nats of the lowest, over all problems.
  let minima: Int
  /// Problems in which a method found less than the grid with its polishing did.
  let missedByGrid: Int
  /// By path of `Method.paths` and problem; none beyond the plane.
  let anatomy: [[Anatomy]]

  /// Within a hundredth of a nat of the lowest.
  func isGlobal(_ method: Int, _ image: Int) -> Bool { (excess[method]?[image] ?? .infinity) <= 0.01 }

  init(_ outcome: Cell.Outcome, anatomy: [[Anatomy]], problems: Int, seed: UInt64, steps: Int) {
    self.problems = problems
    self.seed = seed
    self.steps = steps
    excess = outcome.found.map { found in
      found.map { zip($0, outcome.lowest).map { $0.objective.isFinite ? $0.objective - $1.value : nil } }
    }
    evaluations = outcome.found.map { $0?.map(\.evaluations) }
    minima = outcome.minima
    missedByGrid = outcome.missedByGrid
    self.anatomy = anatomy
  }

  private static func path(_ cell: Cell, _ folder: String) -> String {
    "\(folder)/cells/\(cell.dimension)-\(cell.family.rawValue)-\(cell.kind.rawValue).json"
  }

  /// Of an earlier run with the same settings; nil where there is none.
  static func load(_ cell: Cell, folder: String, problems: Int, seed: UInt64, steps: Int) -> CellFigures? {
    guard let data = FileManager.default.contents(atPath: path(cell, folder)),
      let figures = try? JSONDecoder().decode(CellFigures.self, from: data),
      (figures.problems, figures.seed, figures.steps) == (problems, seed, steps),
      figures.excess.count == Method.all.count
    else { return nil }
    return figures
  }

  func save(_ cell: Cell, folder: String) throws {
    try FileManager.default.createDirectory(atPath: folder + "/cells", withIntermediateDirectories: true)
    let encoder = JSONEncoder()
    encoder.outputFormatting = .sortedKeys
    try AtomicFile.write(Array(try encoder.encode(self)), to: Self.path(cell, folder))
  }
}
