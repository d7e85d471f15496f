import AIPO
import AIPOPlatform

/// The processes that this one was started with by `mpirun` or `srun`; by itself, it alone.
///
/// The first rank speaks and writes. The others are silent unless they fail.
enum Job {
  nonisolated(unsafe) private(set) static var ranks: any Ranks = OneRank()

  /// Finds the others.
  static func join() throws {
    ranks = try RankJob.join()
    Console.isSilent = !ranks.isFirst
  }

  /// What every error line begins with.
  static var name: String { ranks.count > 1 ? "aipo, rank \(ranks.rank) of \(ranks.count): " : "aipo: " }

  /// Ends the others where this one can't go on: they would wait for it. What all ranks find wrong the first one says.
  static func abortOthers(_ status: ExitStatus) {
    guard ranks.count > 1 else { return }
    ranks.abort(status.rawValue)
  }

  /// Lets the first rank speak where it has the same to say.
  static func giveWay() {
    if !ranks.isFirst { sleep(1) }
  }
}
