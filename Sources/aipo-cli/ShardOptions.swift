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

  /// How the items of a verb are shared, which keeps them in a folder where that is asked for.
  func sharing(state: OutputPath? = nil) -> Sharing {
    Sharing(ranks: Job.ranks, shard: shard, merging: merge, folder: state?.path, job: TypedCommand.text)
  }
}

extension CommonOptions {
  /// Says what becomes of a process that hasn't the whole, and gives its exit code; nil where it has.
  func end(_ outcome: SharedWork.Outcome, _ work: SharedWork) throws -> ExitStatus? {
    if let told = work.told(outcome) { try tell(told.text, told.json) }
    return switch outcome {
    case .first: nil
    case .done: .done
    case .cancelled: Interrupt.status ?? .interrupted
    }
  }
}

extension Shard: ExpressibleByArgument {}
