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
