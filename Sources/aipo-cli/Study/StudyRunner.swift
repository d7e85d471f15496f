import AIPO

/// Solves the cells of a study, a few images at a time.
struct StudyRunner {
  let plan: StudyPlan<Reconstruct>
  let models: StudyModels
  let common: CommonOptions

  /// Images of a cell that are solved and kept together.
  private static let partSize = 16
  /// The first images of a cell are shown in the report.
  private static let pictures = 6

  /// Images of every cell, in order. Throws for the first cell that can't be solved: where its input isn't
  /// there or, but for random draws, which are many, its method can't take its problem.
  func sizes() throws -> [Int] {
    var sizes: [Int] = []
    for grid in plan.grids {
      for cell in grid.cells where !Interrupt.requested {
        do {
          let size =
            switch cell.command.common.precision {
            case .float32: try size(cell, isDrawn: grid.isDrawn, Float.self)
            case .float64: try size(cell, isDrawn: grid.isDrawn, Double.self)
            }
          sizes.append(size)
        } catch {
          throw Self.failure(error, cell, number: sizes.count)
        }
      }
    }
    return sizes
  }

  private func size<Scalar: KernelScalar>(_ cell: StudyCell, isDrawn: Bool, _: Scalar.Type) throws -> Int {
    let job = try models.job(cell, as: Scalar.self)
    if !isDrawn { _ = try job.reconstructor(cell.method, try job.input.chunk(0..<1)) }
    return job.count
  }

  private static func failure(_ error: any Error, _ cell: StudyCell, number: Int) -> CommandFailure {
    let failure = CommandFailure(error)
    return CommandFailure(
      failure.status, "cell \(number) of the study, '\(cell.commandLine)': \(failure.message)")
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
    var left: [Part] = []
    for (cell, size) in sizes.enumerated() {
      for (number, start) in stride(from: 0, to: size, by: Self.partSize).enumerated()
      where folder.solves(cell: cell, part: number) == nil {
        left.append(Part(cell: cell, number: number, places: start..<min(start + Self.partSize, size)))
      }
    }
    left.sort { ($0.number, $0.cell) < ($1.number, $1.cell) }
    let total = sizes.reduce(0, +)
    var done = total - left.reduce(0) { $0 + $1.places.count }
    let progress = ProgressLine("study", total: total, unit: "solves", options: common)
    progress.begin(at: Double(done))
    var advices = AdviceList()
    for part in left where !Interrupt.requested {
      let cell = cells[part.cell]
      func solve<Scalar: KernelScalar>(_: Scalar.Type) throws -> [StudySolve] {
        let label = (cell.problem + cell.variant.filter { $0.name != "method" }).map(\.words)
        return try self.solve(
          cell, part.places, as: Scalar.self, isDrawn: isDrawn[part.cell],
          observe: { finished, text in
            progress.update(Double(done) + finished, (label + [text]).joined(separator: ", "))
          })
      }
      let solves: [StudySolve]
      do {
        solves =
          switch cell.command.common.precision {
          case .float32: try solve(Float.self)
          case .float64: try solve(Double.self)
          }
      } catch {
        throw Self.failure(error, cell, number: part.cell)
      }
      common.warn(advices.add(solves.flatMap { $0.advices ?? [] }))
      guard solves.count == part.places.count else { break }
      try folder.write(solves, cell: part.cell, part: part.number)
      done += solves.count
      progress.update(Double(done))
    }
    progress.finish()
  }

  /// Fewer than the places where the user stopped it.
  private func solve<Scalar: KernelScalar>(
    _ cell: StudyCell, _ places: Range<Int>, as _: Scalar.Type, isDrawn: Bool,
    observe: @escaping (_ finished: Double, _ text: String) -> Void
  ) throws -> [StudySolve] {
    let job = try models.job(cell, as: Scalar.self)
    let options = cell.command.observation
    let source = options.simulate ?? options.observation ?? ""
    var solves: [StudySolve] = []
    for range in job.chunks(of: places) where !Interrupt.requested {
      let chunk = try job.chunk(range)
      let quality = PathQuality(chunk)
      let before = solves.count
      let results = try job.solve(
        chunk, by: cell.method, onStates: { if !isDrawn { quality.observe($0) } },
        onProgress: { observe(Double(before + $0.finished), describe($0, cell.method)) })
      guard !results.isEmpty else { continue }
      let figures = try ImageFigures.of(results, images: try stack(results), chunk: chunk)
      let advices = try chunk.advices + job.advices(on: results, by: cell.method, chunk)
      for (result, figures) in zip(results, figures) {
        var solve = StudySolve(
          figures, source: source, index: chunk.indices[result.index], seed: job.input.seed)
        let name = chunk.names[result.index]
        let own =
          job.input.advices + advices.filter { $0.subject == nil || $0.subject == name }
        if !own.isEmpty { solve.advices = own }
        if !isDrawn {
          solve.course = StudyCourse(result, psnr: quality.psnr(image: result.index))
          if range.lowerBound + result.index < Self.pictures {
            solve.picture = StudyPicture(result, chunk: chunk)
          }
        }
        solves.append(solve)
      }
    }
    return solves
  }

  /// Every cell's solves that the folder holds.
  func results(sizes: [Int], folder: StudyFolder) -> [[StudySolve]] {
    sizes.enumerated().map { cell, size in
      let parts = (size + Self.partSize - 1) / Self.partSize
      return (0..<parts).flatMap { folder.solves(cell: cell, part: $0) ?? [] }
    }
  }
}
