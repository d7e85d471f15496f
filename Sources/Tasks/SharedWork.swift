import AIPOFlows
import AIPOKernels
import AIPOPlatform

/// What of a job's numbered items is done here, and the folder that keeps what they came to: the same job goes on in it, and
/// ranks and shards hand their results to each other in it.
public struct SharedWork: Sendable {
  public var division: Division
  public var folder: String
  /// Folders of shards that are joined; nothing is done then.
  public var merging: [String]

  public init(_ division: Division = Division(), folder: String, merging: [String] = []) {
    (self.division, self.folder, self.merging) = (division, folder, merging)
  }

  var ranks: any Ranks { division.ranks }

  /// Does the own items of `0..<count` that the folder doesn't hold, and says whether this process is the one to go on with
  /// all of them, once they are there.
  func run(_ count: Int, holds: (Int) -> Bool, isCancelled: () -> Bool, _ body: ([Int]) throws -> Void) throws
    -> Outcome
  {
    if merging.isEmpty {
      try body((0..<count).filter { division.isOwn($0) && !holds($0) })
    } else if ranks.isFirst {
      try ItemFolders.merge(merging, into: folder)
    }
    // Those that are slow are waited for.
    if try ranks.any(isCancelled(), patience: nil) { return .cancelled }
    return ranks.isFirst && division.shard == nil ? .first : .done
  }

  /// How the own part of a job ended.
  public enum Outcome: Sendable {
    /// All parts are done, and this process has the whole.
    case first
    /// The own part is done; another process has the whole.
    case done
    /// The folder keeps what was finished; the same job goes on.
    case cancelled
  }
}

/// How a job is asked to be shared.
public struct Sharing: Sendable {
  public var ranks: any Ranks
  /// The part to do; nil for the task of the Slurm array that this process is, else everything.
  public var shard: Shard?
  /// Folders of all parts, which are joined; nothing is done then.
  public var merging: [String]
  /// What keeps the items; nil where that isn't asked for.
  public var folder: String?
  /// The job in words. Ranks that have no folder hand on their results in one of the working folder that is named after it.
  public var job: String

  public init(
    ranks: any Ranks = OneRank(), shard: Shard? = nil, merging: [String] = [], folder: String? = nil,
    job: String
  ) {
    (self.ranks, self.shard, self.merging, self.folder, self.job) = (ranks, shard, merging, folder, job)
  }

  /// What is done here.
  public var division: Division {
    let shard = merging.isEmpty ? shard ?? Shard.ofArray : nil
    return Division(ranks: ranks, shard: shard.flatMap { $0.count > 1 ? $0 : nil })
  }

  /// Whether a folder keeps the items, whatever ranks there are.
  package var isKept: Bool { folder != nil || division.shard != nil || !merging.isEmpty }

  /// The own part of the job; nil where this process does all of it and keeps nothing.
  public func work() throws(TaskError) -> SharedWork? {
    if shard != nil, folder == nil {
      throw TaskError(.usage, "--shard needs --state: the folder that keeps what the part comes to")
    }
    let division = folder == nil ? Division(ranks: ranks) : division
    guard division.isDivided || folder != nil || !merging.isEmpty else { return nil }
    let own = ".aipo-ranks-\(SHA256.hexDigest(Array(job.utf8)).prefix(12))"
    return SharedWork(division, folder: folder ?? own, merging: merging)
  }

  /// Removes a folder that nobody named.
  public func clean(_ work: SharedWork) {
    if folder == nil { ItemFolders.remove(work.folder) }
  }
}

extension SharedWork {
  /// What is said where a process hasn't the whole, in words and as JSON; nil where nothing is.
  package func told(_ outcome: Outcome) -> (text: String, json: JSONValue)? {
    switch outcome {
    case .first: nil
    case .done: division.shard.map { Self.told(doneShard: $0, in: folder) }
    case .cancelled:
      (
        "Interrupted; \(folder) keeps what is finished, and the same command goes on.",
        ["finished": .bool(false), "folder": .string(folder)]
      )
    }
  }

  package static func told(doneShard shard: Shard, in folder: String) -> (text: String, json: JSONValue) {
    (
      "shard \(shard) is done; once all are, --merge \(shellQuoted(folder)) and the others' folders join them",
      ["shard": .string(shard.description), "finished": .bool(true), "folder": .string(folder)]
    )
  }
}
