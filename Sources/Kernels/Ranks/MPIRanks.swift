import AIPOPlatform

#if MPI
  import CAIPOMPI

  /// The ranks that `mpirun` or `srun` started. The only file that knows MPI.
  private final class MPIRanks: Ranks, @unchecked Sendable {
    let rank: Int
    let count: Int
    let neighbours: Int

    init() throws {
      var level: Int32 = 0
      try Self.check(MPI_Init_thread(nil, nil, Int32(MPI_THREAD_FUNNELED), &level))
      try Self.check(aipo_mpi_return_errors())
      var (rank, count): (Int32, Int32) = (0, 0)
      try Self.check(MPI_Comm_rank(aipo_mpi_world(), &rank))
      try Self.check(MPI_Comm_size(aipo_mpi_world(), &count))
      (self.rank, self.count) = (Int(rank), Int(count))
      neighbours = Int(aipo_mpi_neighbours())
    }

    private static func check(_ code: Int32) throws(RankError) {
      guard code != MPI_SUCCESS else { return }
      var text = [CChar](repeating: 0, count: Int(MPI_MAX_ERROR_STRING) + 1)
      var length: Int32 = 0
      MPI_Error_string(code, &text, &length)
      throw .failed(String(decoding: text.prefix(Int(length)).map { UInt8(bitPattern: $0) }, as: UTF8.self))
    }

    private struct Transfer {
      var peer: Int
      var state: AipoTransfer
    }

    /// MPI counts bytes in 32 bits.
    private static let most = 1 << 30

    private static func pieces(_ count: Int) -> [Range<Int>] {
      stride(from: 0, to: count, by: most).map { $0..<min($0 + most, count) }
    }

    func exchange(
      _ outgoing: [UnsafeRawBufferPointer], _ incoming: [UnsafeMutableRawBufferPointer], patience: Double?
    ) throws {
      precondition(outgoing.count == count && incoming.count == count)
      precondition(outgoing[rank].count == incoming[rank].count)
      var open: [Transfer] = []
      func begin(_ bytes: (Int) -> Int, _ start: (Int, Range<Int>, inout AipoTransfer) -> Int32) throws {
        // Each begins with another, so that not all turn to the same one.
        for peer in (1..<max(count, 1)).map({ (rank + $0) % count }) {
          for piece in Self.pieces(bytes(peer)) {
            var state = AipoTransfer()
            try Self.check(start(peer, piece, &state))
            open.append(Transfer(peer: peer, state: state))
          }
        }
      }
      let receiving = { (peer: Int, piece: Range<Int>, state: inout AipoTransfer) in
        aipo_mpi_receive(
          incoming[peer].baseAddress! + piece.lowerBound, Int32(piece.count), Int32(peer), &state)
      }
      let sending = { (peer: Int, piece: Range<Int>, state: inout AipoTransfer) in
        aipo_mpi_send(outgoing[peer].baseAddress! + piece.lowerBound, Int32(piece.count), Int32(peer), &state)
      }
      try begin({ incoming[$0].count }, receiving)
      try begin({ outgoing[$0].count }, sending)
      if !outgoing[rank].isEmpty { incoming[rank].copyMemory(from: outgoing[rank]) }
      try finish(&open, patience)
    }

    /// Waits without holding a core that another rank may need.
    private func finish(_ open: inout [Transfer], _ patience: Double?) throws {
      let start = Self.now()
      var looks = 0
      while true {
        var left: [Transfer] = []
        for var transfer in open {
          var done: Int32 = 0
          try Self.check(aipo_mpi_test(&transfer.state, &done))
          if done == 0 { left.append(transfer) }
        }
        if left.count < open.count { looks = 0 }
        open = left
        guard !open.isEmpty else { return }
        looks += 1
        if looks < 2000 {
          sched_yield()
        } else {
          usleep(looks < 10_000 ? 100 : 1000)
        }
        if looks % 100 == 0, let patience, Self.now() - start > patience {
          throw RankError.silent(ranks: Set(open.map(\.peer)).sorted(), seconds: patience)
        }
      }
    }

    private static func now() -> Double {
      var time = timespec()
      clock_gettime(CLOCK_MONOTONIC, &time)
      return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
    }

    func abort(_ code: Int32) -> Never {
      MPI_Abort(aipo_mpi_world(), code)
      _exit(code)
    }

    func leave() { MPI_Finalize() }
  }
#endif

/// How a process finds the others that were started with it.
public enum RankJob {
  /// Processes that the launcher says it started; 1 where there is none.
  private static var launched: Int {
    for name in ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"] {
      if let text = getenv(name), let count = Int(String(cString: text)) { return count }
    }
    return 1
  }

  /// The ranks of `mpirun` or `srun`, or one where the program was started by itself.
  ///
  /// Throws `RankError.notBuilt` in a program that is built without the package trait `MPI`.
  public static func join() throws -> any Ranks {
    guard launched > 1 else { return OneRank() }
    #if MPI
      let ranks = try MPIRanks()
      guard ranks.count == launched else {
        throw RankError.failed(
          "\(launched) processes were started, of which MPI sees \(ranks.count): start them with the mpirun of the library that "
            + "aipo was built with, or 'srun --mpi=pmix' (Open MPI) or 'srun --mpi=pmi2' (MPICH)")
      }
      return ranks
    #else
      throw RankError.notBuilt(count: launched)
    #endif
  }
}
