import AIPO
import ArgumentParser
import Foundation

/// Does the path find the global minimum? Random problems small enough to know the answer by brute force.
@main
struct GlobalMinimum: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "How often path and descents at fixed λ find the global minimum, against brute force.",
    discussion: """
      Trains a small flow on each family of points, in 2-D and 4-D, and solves random
      problems of each kind of measurement by every method. Writes table.md,
      landscape.png and, for every row of the table, cells/*.json; rows that are there
      aren't made again. The same seed gives the same figures on the same kind of
      machine, whatever the threads.
      """)

  @Option(help: "Problems a row.")
  var problems = 334
  @Option(help: "Seed of the problems and starts.")
  var seed: UInt64 = 0
  @Option(help: "Updates of each flow's training.")
  var steps = 3000
  @Option(help: "Dimensions to study, 2 and 4.")
  var dimensions: [Int] = [2, 4]
  @Option(help: "Threads; results don't depend on it.")
  var threads = ThreadPool.availableCores
  @Option(help: "The folder for models, rows, table and picture.")
  var out: String

  func validate() throws {
    guard problems > 0, steps > 0, threads > 0 else {
      throw ValidationError("--problems, --steps and --threads are positive numbers")
    }
    guard dimensions.allSatisfy({ $0 == 2 || $0 == 4 }) else {
      throw ValidationError("--dimensions are 2 and 4")
    }
  }

  func run() throws {
    let pool = ThreadPool(threads: threads)
    var report = StudyReport(problems: problems)
    for d in dimensions {
      for family in PointFamily.allCases {
        let prior = try TrainedPrior(
          family, dimension: d, steps: steps, folder: "\(out)/models/\(family.rawValue)-\(d)",
          threads: threads)
        report.add(family, d, prior)
        for kind in MeasurementKind.allCases {
          let cell = Cell(family: family, dimension: d, kind: kind)
          var figures = CellFigures.load(cell, folder: out, problems: problems, seed: seed, steps: steps)
          if figures == nil {
            let made = try make(cell, prior, pool)
            try made.save(cell, folder: out)
            figures = made
          }
          report.add(cell, figures!)
          try report.write(to: out)
          print("\(d)-D \(family.rawValue), \(kind.rawValue) done")
        }
      }
    }
    print(report.markdown)
  }

  private func make(_ cell: Cell, _ prior: TrainedPrior, _ pool: ThreadPool) throws -> CellFigures {
    let d = cell.dimension
    let outcome = try cell.run(
      prior, try Landscape(prior, dimension: d, side: d == 2 ? 241 : 33), problems: problems, seed: seed,
      pool: pool)
    var anatomy: [[Anatomy]] = []
    if d == 2 {
      let landscape = try Landscape(prior, dimension: d, side: 121)
      anatomy = try Method.paths.map { try Anatomy.of(cell, outcome, method: $0, landscape, pool: pool) }
    }
    let figures = CellFigures(outcome, anatomy: anatomy, problems: problems, seed: seed, steps: steps)
    if d == 2, cell.family == .moons, cell.kind == .rankOne { try draw(prior, cell, outcome, figures, pool) }
    return figures
  }

  /// Two landscapes: one where the prior path finds what random starts miss, and one where it is led astray.
  private func draw(
    _ prior: TrainedPrior, _ cell: Cell, _ outcome: Cell.Outcome, _ figures: CellFigures, _ pool: ThreadPool
  ) throws {
    guard let random = Method.all.firstIndex(where: { $0.start == .random }) else { return }
    let found = (0..<problems).first { figures.isGlobal(0, $0) && !figures.isGlobal(random, $0) }
    let missed = (0..<problems).first { !figures.isGlobal(0, $0) }
    let pictures = try [found, missed].compactMap(\.self).map { image in
      let alone = try InverseProblem(
        maps: [outcome.problem.map(image)], noises: [outcome.problem.noise(image)],
        observations: [outcome.problem.observations[image]], imageShape: .vector(2))
      let others = try (0..<8).map { solve in
        try Method.all[random].run(
          alone, prior, isLinear: cell.isLinear, seed: seed &+ UInt64(solve), pool: pool)[0].point
      }
      return try LandscapePicture.make(
        prior, outcome, image: image, path: 0, others: others.filter { !$0.isEmpty })
    }
    if !pictures.isEmpty { try PlanePicture.write(pictures, to: out + "/landscape.png") }
  }
}
