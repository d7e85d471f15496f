import AIPO
import ArgumentParser

/// A part of a verb's items, and the parts joined.
struct ShardOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      """
      Do the K-th of N parts alone, and keep what it comes to. (default: the task of the Slurm array that this is, else \
      everything)
      """, valueName: "K/N"))
  var shard: Shard?

  @Option(
    parsing: .upToNextOption,
    help: ArgumentHelp(
      "Folders of all parts, which are joined; nothing is computed anew. (default: none)",
      valueName: "folders"),
    completion: .directory)
  var merge: [String] = []

  func validate() throws {
    if shard != nil, !merge.isEmpty {
      throw ValidationError("--shard does a part, --merge joins them: give one of them")
    }
  }

  /// How the items of a verb are shared, which keeps them in a folder where that is asked for; nil where this process does all
  /// of them and keeps nothing. Ranks without a folder use one of their own in the working folder.
  func work(state: String?) throws(CommandFailure) -> SharedWork? {
    if shard != nil, state == nil {
      throw CommandFailure(.usage, "--shard needs --state: the folder that keeps what the part comes to")
    }
    let division = state == nil ? Division(ranks: Job.ranks) : division
    guard division.isDivided || state != nil || !merge.isEmpty else { return nil }
    return SharedWork(division, folder: state ?? Self.ownFolder, merging: merge)
  }

  /// For ranks that have no other folder to hand on their results in: the same for the same command.
  private static var ownFolder: String {
    ".aipo-ranks-\(SHA256.hexDigest(Array(TypedCommand.text.utf8)).prefix(12))"
  }

  /// What is said and returned where a process hasn't the whole; nil where it has.
  func end(_ outcome: SharedWork.Outcome, _ work: SharedWork, _ common: CommonOptions) throws -> ExitStatus? {
    switch outcome {
    case .first: return nil
    case .done:
      if let shard = work.division.shard { try tellDone(shard, in: work.folder, common) }
      return .done
    case .cancelled:
      try common.print("Interrupted; \(work.folder) keeps what is finished, and the same command goes on.")
      try common.printJSON(["finished": .bool(false), "folder": .string(work.folder)])
      return Interrupt.status ?? .interrupted
    }
  }

  /// Removes a folder that nobody named.
  func clean(_ work: SharedWork, state: String?) {
    if state == nil { ItemFolders.remove(work.folder) }
  }

  /// What is done here.
  var division: Division {
    let shard = merge.isEmpty ? shard ?? Shard.ofArray : nil
    return Division(ranks: Job.ranks, shard: shard.flatMap { $0.count > 1 ? $0 : nil })
  }

  /// Says that a part is done.
  func tellDone(_ shard: Shard, in folder: String, _ common: CommonOptions) throws {
    try common.print(
      "shard \(shard) is done; once all are, --merge \(shellQuoted(folder)) and the others' folders join them"
    )
    try common.printJSON([
      "shard": .string(shard.description), "finished": .bool(true), "folder": .string(folder),
    ])
  }
}

extension Shard: ExpressibleByArgument {
  public init?(argument: String) { self.init(argument) }
}
