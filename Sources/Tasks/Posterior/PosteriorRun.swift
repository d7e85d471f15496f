import AIPOImaging
import AIPOKernels
import AIPOSolvers
import Synchronization

/// A sampling that is written to files as its images come, and closed: also from another thread, with what is finished.
package final class PosteriorRun: @unchecked Sendable {
  private let lock = Lock()
  private let settings: [(String, JSONValue)]
  private let provenance: Provenance
  private let task: String
  private let total: Int
  private let files: PosteriorFiles
  private let writers: PosteriorWriters
  private var records: [PosteriorRecord] = []
  private var advices = AdviceList()
  private var isFinished = false

  /// - Parameter command: what makes the same again.
  package init(_ sampling: PosteriorSampling, files: PosteriorFiles, command: String) throws {
    let run = RunSettings(sampling.reconstruction, command: command)
    (task, provenance, total) = (run.task, run.provenance, sampling.count)
    settings = sampling.task.settings
    self.files = files
    let head = ReportHead(
      title: "How sure: \(run.title.prefix(1).lowercased() + run.title.dropFirst())",
      subtitle:
        "Draws of the images that may lie behind what was measured, under the prior \(run.provenance.model).",
      command: command,
      provenance: JSONValue(encoding: run.provenance).members.filter { $0.0 != "command" }
        .map { ReportHead.Field($0, $1.text) })
    writers = try PosteriorWriters(files, sampling, head: head)
  }

  /// Takes what looks like mistakes, and gives the lines that are new.
  package func advise(_ advices: [Advice]) -> [String] {
    lock.withLock { isFinished ? [] : self.advices.add(advices) }
  }

  /// Takes an image, and gives the lines of what is to be said of it.
  package func add(_ image: SampledImage) throws -> [String] {
    try lock.withLock {
      guard !isFinished else { return [] }
      try writers.write(image, index: image.index)
      records.append(image.record)
      return advices.add(image.advices)
    }
  }

  /// What a run comes to.
  package struct Outcome {
    package let json: JSONValue
    package let text: String
  }

  /// Puts the files in their places and gives what the run comes to; nil where that is done.
  package func finish<Result>(isInterrupted: Bool, _ tell: (Outcome) throws -> Result) throws -> Result? {
    try lock.withLock {
      guard !isFinished else { return nil }
      isFinished = true
      try writers.finish(isEmpty: records.isEmpty, advices: advices)
      var json: JSONValue = [
        "task": .string(task), "prior": .string(provenance.model), "seed": .unsigned(provenance.seed),
        "settings": .object(settings + JSONValue(encoding: provenance).members),
        "images": .array(records.map { JSONValue(encoding: $0) }), "warnings": .warnings(advices),
      ]
      var lines = [table]
      lines += records.compactMap(\.modesInWords)
      if let density = records.first?.density { lines.append("Sampled: \(density).") }
      if files.mean == nil, files.draws == nil, files.modes == nil, files.report == nil,
        files.animation == nil
      {
        lines.append("Nothing was kept: --out mean.png keeps the images, --report report.html shows them.")
      }
      if isInterrupted {
        json = json.adding(["interrupted": .bool(true)])
        lines.append("Interrupted after \(records.count) of \(total) images, which are kept.")
      }
      return try tell(Outcome(json: json, text: lines.joined(separator: "\n")))
    }
  }

  private var table: String {
    let isKnown = records.contains { $0.psnr != nil }
    let hasEvidence = records.contains { $0.logEvidence != nil }
    var head = ["image"]
    if isKnown { head += ["PSNR of the mean", "observed"] }
    head += [
      "deviation", "R-hat", "pixels", "bulk ESS", "tail ESS", "accepted", "divergences", "evaluations",
    ]
    if hasEvidence { head.append("log p(y)") }
    var table = TextTable(head)
    func text(_ value: Double?, _ digits: Int) -> String { value.map { fixed($0, digits) } ?? "–" }
    for record in records {
      var row = [record.source]
      if isKnown { row += [text(record.psnr, 2), text(record.psnrObserved, 2)] }
      row += [fixed(record.sd, 4), text(record.rhat, 3), text(record.rhatPixel, 3)]
      row += [text(record.essBulk, 0), text(record.essTail, 0), fixed(record.acceptance, 2)]
      row += ["\(record.divergences)", "\(record.evaluations)"]
      if hasEvidence {
        row.append(
          record.logEvidence.map { "\(fixed($0, 2)) ± \(text(record.logEvidenceError, 2))" } ?? "–")
      }
      table.add(row)
    }
    return table.text
  }
}
