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
