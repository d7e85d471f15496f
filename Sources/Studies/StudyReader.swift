import AIPOFlows
import AIPOKernels
import AIPOTasks
import Yams

/// Reads a study's YAML. Throws `ConfigError`, naming line and key, for what isn't as `aipo help study`
/// describes it or what makes no task.
struct StudyReader {
  private typealias Cell = StudyPlan.Cell
  private typealias Grid = StudyPlan.Grid

  private let document: ConfigDocument
  /// Options for cells that don't have them.
  private let defaults: [StudyOption]
  /// Of the grids' random draws.
  private let seed: UInt64

  init(
    yaml: String, path: String, defaults: [StudyOption], seed: UInt64
  ) throws(ConfigError) {
    document = try ConfigDocument(yaml: yaml, path: path)
    self.defaults = defaults
    self.seed = seed
  }

  /// More cells than anybody means.
  private static var mostCells: Int { 100_000 }

  /// More options than `reconstruct` has.
  private static var mostOptions: Int { 100 }

  /// An option with the values it takes, and where they stand.
  private struct Axis {
    var name: String
    var path: String
    var key: Node
    var values: [(text: String, node: Node)]
    var isList: Bool
  }

  private typealias Choice = (axis: Axis, value: (text: String, node: Node))

  func plan() throws(ConfigError) -> StudyPlan {
    var plan = StudyPlan()
    var cells = 0
    var options: [Axis] = []
    var variants: [[Axis]] = [[]]
    var grids: Node?
    for (name, node) in try document.members(of: document.root, section: "") {
      switch name {
      case "title": plan.title = try text(node.value, name)
      case "about": plan.about = try text(node.value, name)
      case "rank":
        guard let rank = StudyRank(rawValue: try text(node.value, name)) else {
          throw document.error(
            name, at: node.value, found: try text(node.value, name),
            expected: StudyRank.allCases.map(\.rawValue).joined(separator: " or "))
        }
        plan.rank = rank
      case "options": options = try axes(node.value, name)
      case "variants": variants = try self.variants(node.value, name)
      case "grids": grids = node.value
      default:
        throw document.unknownKey(
          name, at: node.key, known: ["title", "about", "rank", "options", "variants", "grids"])
      }
    }
    guard !plan.title.isEmpty else { throw missing("title", at: document.root) }
    guard let grids else { throw missing("grids", at: document.root) }
    for (k, node) in try items(grids, "grids").enumerated() {
      let grid = try grid(node, "grids.\(k)", number: k, options, variants)
      plan.grids.append(grid)
      cells += grid.cells.count
      guard cells <= Self.mostCells else {
        throw document.error(
          "grids.\(k)", at: node, found: "more than \(Self.mostCells) cells", expected: "fewer")
      }
    }
    return plan
  }

  private func grid(_ node: Node, _ path: String, number: Int, _ shared: [Axis], _ all: [[Axis]])
    throws(ConfigError) -> Grid
  {
    var grid = Grid()
    var options = shared
    var variants = all
    var draws: Int?
    for (name, node) in try document.members(of: node, section: path) {
      let key = "\(path).\(name)"
      switch name {
      case "name": grid.name = try text(node.value, key)
      case "about": grid.about = try text(node.value, key)
      case "options": options = Self.merge(shared, try axes(node.value, key))
      case "variants": variants = try self.variants(node.value, key)
      case "draws":
        guard let count = node.value.scalar.flatMap({ Int($0.string) }), (1...Self.mostCells).contains(count)
        else {
          throw document.error(
            key, at: node.value, found: node.value.kind, expected: "an integer from 1 to \(Self.mostCells)")
        }
        draws = count
      default:
        throw document.unknownKey(
          key, at: node.key, known: ["name", "about", "options", "variants", "draws"].map { "\(path).\($0)" })
      }
    }
    guard !grid.name.isEmpty else { throw missing("\(path).name", at: node) }
    if let draws {
      grid.isDrawn = true
      grid.cells = try drawn(draws, grid: number, options, variants, at: node)
    } else {
      grid.cells = try combined(options, variants, at: node)
    }
    return grid
  }

  // MARK: Cells

  /// Every combination: of the options, which make a problem each, and with each of them of a variant's.
  private func combined(_ options: [Axis], _ variants: [[Axis]], at node: Node) throws(ConfigError)
    -> [Cell]
  {
    // What a variant sets tells variants apart, also in those that leave it to the options.
    let names = Set(variants.joined().map(\.name))
    let problems = options.filter { !names.contains($0.name) }
    let left = options.filter { names.contains($0.name) }
    let axes = variants.map { Self.merge(left, $0) }
    let size = Self.size(problems) * axes.reduce(0.0) { $0 + Self.size($1) }
    guard size <= Double(Self.mostCells) else {
      throw document.error(
        "grids", at: node, found: "\(size) cells in one grid", expected: "at most \(Self.mostCells)")
    }
    var cells: [Cell] = []
    var seen: Set<[StudyOption]> = []
    for problem in 0..<Int(Self.size(problems)) {
      let problem = Self.combination(problem, of: problems)
      for axes in axes {
        for choice in 0..<Int(Self.size(axes)) {
          let cell = try cell(problem: problem, variant: Self.combination(choice, of: axes), at: node)
          guard seen.insert(cell.options).inserted else {
            let flags = cell.options.map { "--\($0.name)=\($0.value)" }.joined(separator: " ")
            throw document.error(
              "grids", at: node, found: "'\(flags)' twice", expected: "every cell of a grid once")
          }
          cells.append(cell)
        }
      }
    }
    return cells
  }

  /// Random combinations. A draw's number is its seed unless the options have one.
  private func drawn(_ count: Int, grid: Int, _ options: [Axis], _ variants: [[Axis]], at node: Node)
    throws(ConfigError) -> [Cell]
  {
    var cells: [Cell] = []
    for draw in 0..<count {
      var random = Philox(seed: seed, index: UInt64(grid) << 32 | UInt64(draw), purpose: .study)
      func pick<Item>(_ items: [Item]) -> Item { items[Int(random.uniform() * Double(items.count))] }
      let axes = Self.merge(options, pick(variants))
      let choice = axes.map { ($0, pick($0.values)) }
      cells.append(
        try cell(problem: [], variant: choice, also: [StudyOption(name: "seed", value: "\(draw)")], at: node))
    }
    return cells
  }

  private func cell(problem: [Choice], variant: [Choice], also: [StudyOption] = [], at node: Node)
    throws(ConfigError) -> Cell
  {
    func options(_ choices: [Choice]) -> [StudyOption] {
      choices.map { StudyOption(name: $0.axis.name, value: $0.value.text) }
    }
    var all = options(problem) + options(variant)
    for option in also + defaults where !all.contains(where: { $0.name == option.name }) {
      all.append(option)
    }
    func telling(_ choices: [Choice]) -> [StudyOption] {
      options(choices.filter { !StudyOption.sampling.contains($0.axis.name) })
    }
    return Cell(
      options: all, problem: telling(problem.filter(\.axis.isList)), variant: telling(variant),
      task: try task(all, problem + variant, at: node))
  }

  private func task(_ options: [StudyOption], _ choices: [Choice], at node: Node) throws(ConfigError)
    -> ReconstructionTask
  {
    do throws(TaskError) {
      var task = ReconstructionTask()
      for option in options { try task.set(option.name, to: option.value) }
      if task.methods.count > 1 {
        throw TaskError(
          .usage, key: "method", "--method names several", expected: "one method; several are a list, [a, b]")
      }
      try task.check()
      return task
    } catch {
      guard let choice = choices.first(where: { $0.axis.name == error.key }) else {
        throw document.error("grids", at: node, found: "cells without it", expected: error.description)
      }
      throw document.error(
        choice.axis.path, at: choice.value.node, found: error.found ?? "\"\(choice.value.text)\"",
        expected: error.expected ?? "what goes with the others: \(error.description)")
    }
  }

  // MARK: Combinations

  private static func size(_ axes: [Axis]) -> Double { axes.reduce(1) { $0 * Double($1.values.count) } }

  /// The combination of this number, of which the first axis changes slowest.
  private static func combination(_ number: Int, of axes: [Axis]) -> [Choice] {
    var rest = number
    var choices: [Choice] = []
    for axis in axes.reversed() {
      let (quotient, place) = rest.quotientAndRemainder(dividingBy: axis.values.count)
      choices.append((axis, axis.values[place]))
      rest = quotient
    }
    return choices.reversed()
  }

  /// `axes` with those of `others` in their place or after them.
  private static func merge(_ axes: [Axis], _ others: [Axis]) -> [Axis] {
    var result = axes
    for other in others {
      if let place = result.firstIndex(where: { $0.name == other.name }) {
        result[place] = other
      } else {
        result.append(other)
      }
    }
    return result
  }

  // MARK: Nodes

  private func axes(_ node: Node, _ path: String) throws(ConfigError) -> [Axis] {
    var axes: [Axis] = []
    let members = try document.members(of: node, section: path)
    guard members.count <= Self.mostOptions else {
      throw document.error(
        path, at: node, found: "\(members.count) options", expected: "at most \(Self.mostOptions)")
    }
    for (name, node) in members {
      let key = "\(path).\(name)"
      guard ReconstructionTask.key(named: name) != nil else {
        throw document.unknownKey(
          key, at: node.key, known: ReconstructionTask.keys.map { "\(path).\($0.name)" })
      }
      let isList = node.value.sequence != nil
      var values: [(String, Node)] = []
      var seen: Set<String> = []
      for item in isList ? try items(node.value, key) : [node.value] {
        let value = try text(item, key, expected: "a value or a list of values")
        guard seen.insert(value).inserted else {
          throw document.error(key, at: item, found: "\"\(value)\" twice", expected: "every value once")
        }
        values.append((value, item))
      }
      axes.append(Axis(name: name, path: key, key: node.key, values: values, isList: isList))
    }
    return axes
  }

  private func variants(_ node: Node, _ path: String) throws(ConfigError) -> [[Axis]] {
    var result: [[Axis]] = []
    for (k, item) in try items(node, path).enumerated() { result.append(try axes(item, "\(path).\(k)")) }
    return result
  }

  private func items(_ node: Node, _ path: String) throws(ConfigError) -> [Node] {
    guard let sequence = node.sequence, !sequence.isEmpty else {
      throw document.error(path, at: node, found: node.kind, expected: "a list of at least one")
    }
    return Array(sequence)
  }

  private func text(_ node: Node, _ path: String, expected: String = "one value") throws(ConfigError)
    -> String
  {
    guard case .scalar(let scalar) = node else {
      throw document.error(path, at: node, found: node.kind, expected: expected)
    }
    let isPlain = scalar.style == .plain || scalar.style == .any
    if scalar.string.isEmpty || isPlain && (scalar.string == "~" || scalar.string == "null") {
      throw document.error(path, at: node, found: "no value", expected: expected)
    }
    return scalar.string
  }

  private func missing(_ key: String, at node: Node) -> ConfigError {
    document.error(key, at: node, found: "no such key", expected: "one")
  }
}
