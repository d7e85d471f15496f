import AIPOKernels
import AIPOTestFiles
import Foundation
import Testing

@testable import AIPOFlows

/// Several processes at one job: sums and trainings give the same bits on any number of them.
@Suite struct RanksTests {
  @Test(arguments: [1, 2, 3, 4, 5, 8, 11])
  func aSumHasTheSameBitsOnAnyNumberOfRanks(ranks: Int) throws {
    for (leaves, count) in [(1, 3), (2, 7), (5, 64), (7, 1), (8, 1000), (13, 29)] {
      func leaf(_ k: Int) -> [Float] {
        var random = Philox(seed: 1, index: UInt64(k), purpose: .sample)
        return (0..<count).map { _ in Float(random.normal() * pow(10, 6 * random.uniform())) }
      }
      // Along the tree, by its definition.
      func sum(_ node: Range<Int>) -> [Float] {
        guard node.count > 1 else { return leaf(node.lowerBound) }
        let middle = node.lowerBound + node.count / 2
        return zip(sum(node.lowerBound..<middle), sum(middle..<node.upperBound)).map { $0 + $1 }
      }
      let expected = sum(0..<leaves)
      let results = try ThreadRanks.run(ranks) { ranks in
        let pool = ThreadPool(threads: 2)
        var tree = TreeSum<Float>()
        var (first, second) = ([Float](repeating: 0, count: count), [Float](repeating: 0, count: count))
        for k in ranks.share(of: leaves) { tree.add(leaf(k), leaf: k, of: leaves, pool: pool) }
        try tree.finish(leaves, over: ranks, into: &first)
        // The room is used again.
        for k in ranks.share(of: leaves) {
          var values = tree.room(count)
          for (i, value) in leaf(k).enumerated() { values[i] = value }
          tree.add(values, leaf: k, of: leaves, pool: pool)
        }
        try tree.finish(leaves, over: ranks, into: &second)
        return [first, second]
      }
      for result in results { #expect(result == [expected, expected]) }
    }
  }

  @Test func sharesAreEvenAndInOrder() throws {
    let shares = try ThreadRanks.run(3) { $0.share(of: 11) }
    #expect(shares == [0..<3, 3..<7, 7..<11])
  }

  @Test func everyItemIsDoneOnce() throws {
    #expect(Shard("2/7") == Shard(number: 2, of: 7) && Shard("7/7") != nil)
    for text in ["", "2", "0/7", "8/7", "2/0", "-1/7", "2/7/1", "a/7"] {
      #expect(Shard(text) == nil, "\(text)")
    }
    for (shards, ranks, items) in [(1, 1, 5), (1, 3, 7), (3, 1, 7), (3, 2, 19), (5, 4, 3)] {
      let divisions = try (1...shards).flatMap { k in
        try ThreadRanks.run(ranks) { Division(ranks: $0, shard: Shard(number: k, of: shards)) }
      }
      for item in 0..<items { #expect(divisions.count { $0.isOwn(item) } == 1) }
      let counts = divisions.map { division in (0..<items).count { division.isOwn($0) } }
      #expect(counts.max()! - counts.min()! <= 2 && counts.reduce(0, +) == items)
    }
  }

  @Test func whatDiffersIsNamed() throws {
    let errors = try ThreadRanks.run(3) { ranks -> RankError? in
      do {
        try ranks.requireSame([("seed", "1"), ("model", ranks.rank == 2 ? "b" : "a")])
        return nil
      } catch let error as RankError { return error }
    }
    let expected = RankError.different(what: "model", rank: 2, found: "b", expected: "a")
    #expect(errors == [expected, expected, expected])
  }

  private static let shape = ImageShape(height: 4, width: 4, channels: 1)

  /// Trains on so many ranks and gives the bytes of the files that matter.
  private func train(
    ranks: Int, in folder: TrainingFolder = TrainingFolder(), steps: Int, resume: Bool = false,
    batch: Int = 13, stopAt: Int? = nil
  ) throws -> [String: [UInt8]] {
    var config = TrainingConfig()
    config.steps = steps
    config.batch = batch
    config.seed = 3
    config.logEvery = 2
    config.checkpointEvery = 3
    config.validation.every = 4
    config.samples.every = 5
    config.samples.count = 4
    config.initializationImages = 16
    config.augmentation.flip = true
    config.rate.decayFraction = 0
    let images = trainingImages(40, Self.shape)
    _ = try ThreadRanks.run(ranks) { ranks in
      let training = FlowTraining(
        spec: .glow(levels: 1, steps: 2, hidden: 8), config: config, images: images, folder: folder.path,
        threads: ranks.rank % 2 + 1, ranks: ranks)
      var made = 0
      return try training.run(
        as: Float.self, resume: resume,
        observe: { if case .step = $0 { made += 1 } },
        // One rank alone is asked to stop.
        isCancelled: { ranks.rank == ranks.count - 1 && made == stopAt })
    }
    let names = ["model.safetensors", "checkpoint.safetensors", "log.jsonl"]
    return Dictionary(
      uniqueKeysWithValues: names.filter { FileManager.default.fileExists(atPath: "\(folder.path)/\($0)") }
        .map { ($0, folder.bytes($0)) })
  }

  @Test func aTrainingHasTheSameBytesOnAnyNumberOfRanks() throws {
    let alone = try train(ranks: 1, steps: 9)
    #expect(alone.count == 3)
    for ranks in [2, 3, 4, 5, 8, 9] {
      #expect(try train(ranks: ranks, steps: 9) == alone, "\(ranks) ranks")
    }
    // Fewer images than shares.
    let small = try train(ranks: 1, steps: 4, batch: 3)
    #expect(try train(ranks: 5, steps: 4, batch: 3) == small)
    #expect(small["model.safetensors"] != alone["model.safetensors"])
  }

  @Test func aTrainingGoesOnOnAnotherNumberOfRanks() throws {
    let alone = try train(ranks: 1, steps: 9)
    let folder = TrainingFolder()
    let first = try train(ranks: 3, in: folder, steps: 9, stopAt: 4)
    #expect(first["model.safetensors"] == nil && first["checkpoint.safetensors"] != nil)
    _ = try train(ranks: 5, in: folder, steps: 9, resume: true, stopAt: 2)
    #expect(try train(ranks: 2, in: folder, steps: 9, resume: true) == alone)
  }

  @Test func ranksWithOtherDataAreRefused() throws {
    let folder = TrainingFolder()
    var config = TrainingConfig()
    config.steps = 2
    config.batch = 4
    let errors = try ThreadRanks.run(2) { [config] ranks -> String in
      let training = FlowTraining(
        spec: .glow(levels: 1, steps: 1, hidden: 4), config: config,
        images: trainingImages(ranks.rank == 0 ? 20 : 21, Self.shape), folder: folder.path, threads: 1,
        ranks: ranks)
      do { _ = try training.run(as: Float.self, resume: false) } catch { return "\(error)" }
      return ""
    }
    #expect(errors.allSatisfy { $0.hasPrefix("the data of rank 1 is 21x") })
  }
}
