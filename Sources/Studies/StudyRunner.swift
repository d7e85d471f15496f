import AIPOKernels
import AIPOSolvers
import AIPOTasks

/// Solves the cells of a study, a few images at a time.
struct StudyRunner {
  let plan: StudyPlan
  let models: StudyModels
  let observer: Study.Observer
  let division: Division

  /// Images of a cell that are solved and kept together.
  private static let partSize = 16
  /// The first images of a cell are shown in the report.
  private static let pictures = 6

  /// Images of every cell, in order. Throws for the first cell that can't be solved: where its input isn't
  /// there or, but for random draws, which are many, its method can't take its problem.
  func sizes() throws -> [Int] {
    var sizes: [Int] = []
    for grid in plan.grids {
      for cell in grid.cells where !observer.isCancelled() {
        do {
          let reconstruction = try models.reconstruction(cell)
          if !grid.isDrawn { try reconstruction.checkFirst() }
          sizes.append(reconstruction.count)
        } catch {
          throw StudyCellError(cell: sizes.count, command: cell.commandLine, error: error)
        }
      }
    }
    return sizes
  }

  /// Solves what the folder doesn't hold yet, until all is done or the user stops it: of every cell the first
  /// images first, so that a study that was stopped compares all its cells.
  func run(sizes: [Int], folder: StudyFolder) throws {
    struct Part {
      var cell: Int
      var number: Int
      var places: Range<Int>
    }
    let cells = plan.cells
    let isDrawn = plan.grids.flatMap { grid in grid.cells.map { _ in grid.isDrawn } }
    var parts: [Part] = []
    for (cell, size) in sizes.enumerated() {
      for (number, start) in stride(from: 0, to: size, by: Self.partSize).enumerated() {
        parts.append(Part(cell: cell, number: number, places: start..<min(start + Self.partSize, size)))
      }
    }
    parts.sort { ($0.number, $0.cell) < ($1.number, $1.cell) }
    let own = parts.indices.filter(division.isOwn).map { parts[$0] }
    let left = own.filter { folder.solves(cell: $0.cell, part: $0.number) == nil }
    let total = own.reduce(0) { $0 + $1.places.count }
    var done = total - left.reduce(0) { $0 + $1.places.count }
    observer.onBegin(done, total)
    var advices = AdviceList()
    for part in left where !observer.isCancelled() {
      let cell = cells[part.cell]
      let label = (cell.problem + cell.variant.filter { $0.name != "method" }).map(\.words)
      let solves: [StudySolve]
      do {
        solves = try solve(
          cell, part.places, isDrawn: isDrawn[part.cell],
          observe: { finished, text in
            observer.onProgress(Double(done) + finished, (label + [text]).joined(separator: ", "))
          })
      } catch {
        throw StudyCellError(cell: part.cell, command: cell.commandLine, error: error)
      }
      observer.onAdvice(advices.add(solves.flatMap { $0.advices ?? [] }))
      guard solves.count == part.places.count else { break }
      try folder.write(solves, cell: part.cell, part: part.number)
      done += solves.count
      observer.onProgress(Double(done), "")
    }
  }

  /// Fewer than the places where the user stopped it.
  private func solve(
    _ cell: StudyPlan.Cell, _ places: Range<Int>, isDrawn: Bool,
    observe: @escaping (_ finished: Double, _ text: String) -> Void
  ) throws -> [StudySolve] {
    let reconstruction = try models.reconstruction(cell)
    let source = cell.task.simulate ?? cell.task.observation ?? ""
    var solves: [StudySolve] = []
    let watch = ReconstructionWatch(
      work: WorkObserver(isCancelled: observer.isCancelled), isTraced: !isDrawn,
      onState: { observe($2, ReconstructionWatch.words($0, $1)) })
    try reconstruction.run(places, observer: watch) { solved in
      let chunk = solved.chunk
      for (result, record) in zip(solved.results, solved.records) {
        let advices =
          reconstruction.advices
          + solved.advices.filter { $0.subject == nil || $0.subject == record.source }
        var solve = StudySolve(
          sample: StudySolve.Sample(source: source, index: chunk.indices[result.index], seed: cell.task.seed),
          record: record, advices: advices.isEmpty ? nil : advices)
        solve.record.seconds = nil
        if plan.rank == .evidence {
          observe(Double(solves.count) / Double(places.count), "\(record.source), its evidence")
          guard
            let found = try reconstruction.evidence(
              of: result.index, in: chunk, isCancelled: observer.isCancelled)
          else { return }
          solve.evidence = found
        }
        if !isDrawn {
          solve.course = StudyCourse(result, psnr: solved.quality.psnr(image: result.index))
          if chunk.offset + result.index < Self.pictures {
            solve.picture = StudyPicture(result, chunk: chunk)
          }
        }
        solves.append(solve)
      }
    }
    return solves
  }

  /// Throws where the folder lacks a solve.
  func requireAll(sizes: [Int], folder: StudyFolder) throws {
    let missing = zip(sizes, results(sizes: sizes, folder: folder)).reduce(0) { $0 + $1.0 - $1.1.count }
    guard missing == 0 else {
      throw TaskError(
        .data,
        "\(missing) of \(sizes.reduce(0, +)) solves are in none of the folders to merge: run their shards again, which go on "
          + "where they stopped")
    }
  }

  /// Every cell's solves that the folder holds.
  func results(sizes: [Int], folder: StudyFolder) -> [[StudySolve]] {
    sizes.enumerated().map { cell, size in
      let parts = (size + Self.partSize - 1) / Self.partSize
      return (0..<parts).flatMap { folder.solves(cell: cell, part: $0) ?? [] }
    }
  }
}
