import AIPOKernels
import AIPOTestFiles
import Foundation
import Testing

@testable import AIPOFlows

/// Sets whose values are in files: everything is as if they were in memory, and files that went wrong are errors.
@Suite struct StreamedTrainingTests {
  /// Pictures of any sizes, in memory and as they are streamed.
  private struct Pictures {
    var patch: ImageShape
    var sizes: [ImageShape]
    var pixels: [UInt8] = []
    var reals: [Double] = []

    func held() throws -> TrainingImages {
      reals.isEmpty
        ? try TrainingImages(patch: patch, of: sizes, pixels: pixels)
        : try TrainingImages(patch: patch, of: sizes, reals: reals)
    }

    func streamed(in folder: TrainingFolder, _ ranks: any Ranks = OneRank(), name: String = "images") throws
      -> TrainingImages
    {
      let place = PictureFiles.Place(folder: folder.path, name: name, ranks: ranks)
      func values<Value>(_ all: [Value], _ k: Int) -> [Value] {
        // Each picture is asked of one rank.
        precondition(k % ranks.count == ranks.rank)
        let start = sizes[..<k].reduce(0) { $0 + $1.count }
        return Array(all[start..<start + sizes[k].count])
      }
      return reals.isEmpty
        ? try TrainingImages(patch: patch, of: sizes, in: place) { values(pixels, $0) }
        : try TrainingImages(patch: patch, of: sizes, in: place) { values(reals, $0) }
    }
  }

  enum Kind: CaseIterable { case images, patches, vectors }

  private func pictures(_ kind: Kind) -> Pictures {
    func noise(_ count: Int) -> [UInt8] {
      trainingImages(1, ImageShape(height: 1, width: count, channels: 1)).pixels
    }
    switch kind {
    case .images:
      let shape = ImageShape(height: 4, width: 4, channels: 1)
      return Pictures(patch: shape, sizes: Array(repeating: shape, count: 31), pixels: noise(31 * 16))
    case .patches:
      let patch = ImageShape(height: 4, width: 6, channels: 3)
      // The third is no larger than the patch, some are as wide, some have rows longer than a page.
      let sizes = (0..<13).map { k in
        ImageShape(height: 4 + (k == 2 ? 0 : k % 4), width: 6 + [3, 0, 0, 2000][k % 4], channels: 3)
      }
      return Pictures(patch: patch, sizes: sizes, pixels: noise(sizes.reduce(0) { $0 + $1.count }))
    case .vectors:
      return Pictures(
        patch: .vector(3), sizes: Array(repeating: .vector(3), count: 50),
        reals: noise(150).enumerated().map { Double($1) / 7 - Double($0 % 3) })
    }
  }

  private func settings(_ kind: Kind) -> (spec: FlowSpec, config: TrainingConfig) {
    var config = TrainingConfig()
    config.steps = 8
    config.batch = 9
    config.seed = 3
    config.logEvery = 2
    config.checkpointEvery = 3
    config.validation = .init(images: .share(0.2), every: 4)
    config.samples.every = 0
    config.initializationImages = 16
    config.augmentation.flip = true
    config.rate.decayFraction = 0
    switch kind {
    case .images: return (.glow(levels: 1, steps: 2, hidden: 8), config)
    case .patches:
      config.patch = "4x6"
      return (.dense(couplings: 2, hidden: [8]).conditioned(whitening: .dense), config)
    case .vectors:
      config.augmentation.flip = false
      config.dequantization = .none
      return (.vector(couplings: 2, hidden: [8]), config)
    }
  }

  /// Trains and gives the bytes of the files that come of it.
  private func train(
    _ kind: Kind, images: TrainingImages, test: TrainingImages?, in folder: TrainingFolder,
    ranks: any Ranks = OneRank(), resume: Bool = false, stopAt: Int? = nil,
    observe: (Int) throws -> Void = { _ in }
  ) throws {
    let (spec, config) = settings(kind)
    let training = FlowTraining(
      spec: spec, config: config, images: images, test: test, folder: folder.path,
      threads: ranks.rank % 2 + 1, ranks: ranks)
    var made = 0
    _ = try training.run(
      as: Float.self, resume: resume,
      observe: {
        guard case .step = $0 else { return }
        made += 1
        try observe(made)
      }, isCancelled: { made == stopAt })
  }

  private func results(_ folder: TrainingFolder) -> [[UInt8]] {
    ["model.safetensors", "checkpoint.safetensors", "log.jsonl"].map(folder.bytes)
  }

  private func leftovers(_ folder: TrainingFolder) throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: folder.path).filter(AtomicFile.isLeftover)
  }

  @Test(arguments: Kind.allCases) func aTrainingHasTheBytesOfOneInMemory(_ kind: Kind) throws {
    let pictures = pictures(kind)
    let alone = TrainingFolder()
    try train(kind, images: pictures.held(), test: pictures.held(), in: alone)
    #expect(results(alone).allSatisfy { !$0.isEmpty })
    for (count, areHosts) in [(1, false), (2, false), (3, false), (5, false), (3, true)] {
      let folder = TrainingFolder()
      _ = try ThreadRanks.run(count) { threads in
        let ranks: any Ranks = areHosts ? Hosts(threads) : threads
        let images = try pictures.streamed(in: folder, ranks)
        let test = try pictures.streamed(in: folder, ranks, name: "test")
        // On one machine a killed process leaves nothing behind, on several the first rank removes what has names.
        try ranks.wait()
        #expect(try leftovers(folder).count == (areHosts ? 2 * count : 0))
        try ranks.wait()
        try train(kind, images: images, test: test, in: folder, ranks: ranks)
      }
      #expect(results(folder) == results(alone), "\(count) ranks, \(areHosts)")
      #expect(try leftovers(folder).isEmpty)
    }
  }

  @Test func aRunGoesOnStreamedOrNot() throws {
    let pictures = pictures(.patches)
    let alone = TrainingFolder()
    try train(.patches, images: pictures.held(), test: nil, in: alone)
    let folder = TrainingFolder()
    _ = try ThreadRanks.run(3) { ranks in
      try train(
        .patches, images: pictures.streamed(in: folder, ranks), test: nil, in: folder, ranks: ranks, stopAt: 2
      )
    }
    try train(.patches, images: pictures.held(), test: nil, in: folder, resume: true, stopAt: 3)
    try train(.patches, images: pictures.streamed(in: folder), test: nil, in: folder, resume: true)
    #expect(results(folder) == results(alone))
  }

  @Test(arguments: Kind.allCases) func everythingThatIsAskedOfASetIsTheSame(_ kind: Kind) throws {
    let (pictures, folder) = (pictures(kind), TrainingFolder())
    let (held, streamed) = (try pictures.held(), try pictures.streamed(in: folder))
    #expect(streamed.isStreamed && !held.isStreamed)
    #expect(streamed.isReal == held.isReal && streamed.count == held.count)
    #expect(try streamed.fingerprint() == held.fingerprint())
    #expect(try streamed.constantValue() == nil)
    let dequantization = settings(kind).config.dequantization
    let (a, b) = (held.fixedPatches(atMost: 40, seed: 1), streamed.fixedPatches(atMost: 40, seed: 1))
    for i in 0..<a.count {
      #expect(try a.isReal ? a.reals(at: i) == b.reals(at: i) : a.pixels(at: i) == b.pixels(at: i))
    }
    let all = Array(0..<a.count)
    #expect(
      try ImageStatistics.fit(a, indices: all, dequantization: dequantization)
        == ImageStatistics.fit(b, indices: all, dequantization: dequantization))
    if kind == .images {
      #expect(
        try ImageStatistics.fitStationary(a, indices: all, dequantization: dequantization)
          == ImageStatistics.fitStationary(b, indices: all, dequantization: dequantization))
    }
    var constant = pictures
    constant.pixels = constant.pixels.map { _ in 7 }
    if kind != .vectors { #expect(try constant.streamed(in: folder).constantValue() == 7) }
  }

  /// Never zeros, never a signal.
  @Test func aFileThatWasCutIsAnError() throws {
    let (pictures, folder) = (pictures(.patches), TrainingFolder())
    var sets = try ThreadRanks.run(2) { try pictures.streamed(in: folder, Hosts($0)) }
    let images = sets[1]
    let second = folder.path + "/" + (try leftovers(folder).sorted()[1])
    // All is well at first; the file is cut while the training runs.
    let cut = #expect(throws: FileError.self) {
      try train(.patches, images: images, test: nil, in: folder) { step in
        if step == 2 { truncate(second, 100) }
      }
    }
    guard case .malformed(second, _, "shorter than when it was written", _)? = cut else {
      Issue.record("\(String(describing: cut))")
      return
    }
    #expect(throws: FileError.self) { try images.fingerprint() }
    #expect(throws: FileError.self) { try images.pixels(at: 3) }
    #expect(try images.pixels(at: 2) == pictures.held().pixels(at: 2))
    // What the first rank removes at the end.
    sets = []
    #expect(try leftovers(folder).isEmpty)
  }

  @Test func ranksWithOtherPicturesAreRefused() throws {
    let folder = TrainingFolder()
    let errors = try ThreadRanks.run(2) { ranks -> String in
      var pictures = pictures(.patches)
      if ranks.rank == 1 { pictures.sizes.removeLast() }
      do { _ = try pictures.streamed(in: folder, ranks) } catch { return "\(error)" }
      return ""
    }
    #expect(errors.allSatisfy { $0.hasPrefix("the data of rank 1 is 12x4x6x3") }, "\(errors)")
    #expect(throws: TrainingError.pixelCount(found: 3, shape: "2x2x1")) {
      let shape = ImageShape(height: 2, width: 2, channels: 1)
      let place = PictureFiles.Place(folder: folder.path, name: "images", ranks: OneRank())
      _ = try TrainingImages(patch: shape, of: [shape], in: place) { _ in [UInt8](repeating: 1, count: 3) }
    }
    #expect(try leftovers(folder).isEmpty)
    let nowhere = PictureFiles.Place(folder: folder.path + "/none", name: "images", ranks: OneRank())
    #expect(throws: FileError.self) {
      _ = try TrainingImages(patch: .vector(1), of: [.vector(1)], in: nowhere) { _ in [0.5] }
    }
  }

  @Test func largeSetsAreStreamed() {
    typealias Streaming = TrainingConfig.Streaming
    #expect(Streaming.auto.isDue(bytes: 1 << 40) && !Streaming.auto.isDue(bytes: 1 << 10))
    // Processes on one machine share its memory.
    #expect(Streaming.auto.isDue(bytes: 1 << 20, neighbours: 1 << 20))
    #expect(Streaming.always.isDue(bytes: 1) && !Streaming.never.isDue(bytes: 1 << 40))
  }
}

/// Ranks on machines of their own.
private struct Hosts: Ranks {
  let threads: ThreadRanks
  var rank: Int { threads.rank }
  var count: Int { threads.count }
  var neighbours: Int { 1 }

  init(_ threads: ThreadRanks) { self.threads = threads }

  func exchange(
    _ outgoing: [UnsafeRawBufferPointer], _ incoming: [UnsafeMutableRawBufferPointer], patience: Double?
  ) throws { threads.exchange(outgoing, incoming, patience: patience) }

  func abort(_ code: Int32) -> Never { threads.abort(code) }
  func leave() {}
}
