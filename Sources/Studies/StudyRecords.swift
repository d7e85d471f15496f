import AIPOKernels
import AIPOSolvers
import AIPOTasks

/// A study's results for programs: a table of every solve, and what they come to.
struct StudyRecords {
  let plan: StudyPlan
  let summary: StudySummary
  /// The solves of every cell, in the plan's order.
  let results: [[StudySolve]]
  let total: Int
  let provenance: JSONValue

  // MARK: CSV

  /// A line an image and cell, after RFC 4180 but for the line ends.
  var csv: String {
    var names: [String] = []
    for option in plan.cells.flatMap(\.options) where !StudyOption.sampling.contains(option.name) {
      if !names.contains(option.name) { names.append(option.name) }
    }
    let own = [
      "source", "index", "seed", "psnr", "ssim", "psnrObserved", "objective", "recon", "reg", "target",
      "lambda", "flowShare", "sigma", "logEvidence", "logEvidenceError", "evaluations", "withinOneNat",
      "iterations", "converged", "reason",
    ]
    // An option may have the name of a figure, which is then what it was set to.
    let columns = ["grid", "cell"] + names.map { own.contains($0) ? "\($0)Set" : $0 } + own
    var text = columns.map(Self.field).joined(separator: ",") + "\n"
    var number = 0
    for grid in plan.grids {
      for cell in grid.cells {
        let options = Dictionary(cell.options.map { ($0.name, $0.value) }) { first, _ in first }
        let head = [grid.name, "\(number)"] + names.map { options[$0] ?? "" }
        for solve in results[number] {
          text += (head + Self.fields(solve)).map(Self.field).joined(separator: ",") + "\n"
        }
        number += 1
      }
    }
    return text
  }

  private static func fields(_ solve: StudySolve) -> [String] {
    func number(_ value: Double?) -> String { value.map { "\($0)" } ?? "" }
    let record = solve.record
    return [
      solve.sample.source, "\(solve.sample.index)", "\(solve.sample.seed)", number(record.psnr),
      number(record.ssim), number(record.psnrObserved), number(record.objective), number(record.recon),
      number(record.reg), number(record.target), number(record.lambda), number(record.flowShare),
      number(record.sigma), number(solve.evidence?.logEvidence), number(solve.evidence?.error),
      "\(record.evaluations)", solve.course?.withinOneNat.map { "\($0)" } ?? "",
      "\(record.iterations)", "\(record.converged)", record.reason.rawValue,
    ]
  }

  private static func field(_ text: String) -> String {
    guard text.contains(where: { ",\"\n\r".contains($0) }) else { return text }
    return "\"" + text.replacing("\"", with: "\"\"") + "\""
  }

  // MARK: JSON

  var json: JSONValue {
    let solves = Array(results.joined())
    let counts: JSONValue = ["asked": .int(total), "done": .int(solves.count)]
    let head: JSONValue = [
      "title": .string(plan.title), "finished": .bool(solves.count == total),
      "solves": counts.adding(Self.tally(solves)),
    ]
    return head.adding(provenance).adding([
      "grids": .array(zip(summary.grids, firstCells).map(grid)), "warnings": .warnings(summary.advices),
    ])
  }

  /// The number of each grid's first cell.
  private var firstCells: [Int] {
    plan.grids.indices.map { k in plan.grids[..<k].reduce(0) { $0 + $1.cells.count } }
  }

  private func grid(_ grid: StudySummary.Grid, first: Int) -> JSONValue {
    [
      "name": .string(grid.grid.name), "solves": Self.tally(grid.solves.map(\.solve)),
      "cells": .array(grid.grid.cells.enumerated().map { k, cell in self.cell(cell, results[first + k]) }),
      "problems": .array(grid.panels.map(problem)),
    ]
  }

  private func cell(_ cell: StudyPlan.Cell, _ solves: [StudySolve]) -> JSONValue {
    func estimate(_ value: (ReconstructionRecord) -> Double?) -> JSONValue {
      JSONValue(encoding: Estimate(solves.map { value($0.record) }))
    }
    return [
      "options": .object(cell.options.map { ($0.name, .string($0.value)) }),
      "command": .string(cell.commandLine), "solves": Self.tally(solves), "psnr": estimate(\.psnr),
      "ssim": estimate(\.ssim), "psnrObserved": estimate(\.psnrObserved), "objective": estimate(\.objective),
      "target": estimate(\.target), "lambda": estimate(\.lambda),
      "logEvidence": JSONValue(encoding: Estimate(solves.map { StudyRank.evidence.value($0) })),
      "evaluations": estimate { Double($0.evaluations) },
      "withinOneNat": JSONValue(encoding: Estimate(solves.map { $0.course?.withinOneNat.map(Double.init) })),
    ]
  }

  /// The paired differences of a problem's variants.
  private func problem(_ panel: StudySummary.Panel) -> JSONValue {
    var pairs: [JSONValue] = []
    for (k, row) in panel.rows.enumerated() {
      for other in panel.rows[..<k] {
        pairs.append([
          "of": .string(row.label), "less": .string(other.label),
          "psnr": JSONValue(encoding: row.difference(from: other, by: .psnr)),
          "target": JSONValue(encoding: row.targetDifference(from: other)),
          "logEvidence": JSONValue(encoding: row.difference(from: other, by: .evidence)),
        ])
      }
    }
    return [
      "title": .string(panel.title), "variants": .array(panel.rows.map { .string($0.label) }),
      "differences": .array(pairs),
    ]
  }

  private static func tally(_ solves: [StudySolve]) -> JSONValue {
    .object(StudySummary.tally(solves).map { ($0.end.rawValue, .int($0.count)) })
  }
}
