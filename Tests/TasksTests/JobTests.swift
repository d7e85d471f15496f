import AIPOFlows
import AIPOImaging
import AIPOInterchange
import AIPOKernels
import AIPOPriors
import AIPOProblems
import AIPOSolvers
import AIPOTasks
import Foundation
import Testing

/// What surrounds a job: its parts, the names of its files, what errors mean, how far it is.
@Suite final class JobTests {
  private let folder: String

  init() throws {
    folder = FileManager.default.temporaryDirectory.path + "/aipo-jobs-" + UUID().uuidString
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(atPath: folder) }

  /// A rank of several that never talk.
  private struct SilentRanks: Ranks {
    var rank = 1
    var count = 3
    var neighbours = 2
    func exchange(
      _ outgoing: [UnsafeRawBufferPointer], _ incoming: [UnsafeMutableRawBufferPointer], patience: Double?
    ) {}
    func abort(_ code: Int32) -> Never { exit(code) }
    func leave() {}
  }

  @Test func partsOfAJob() throws {
    // Nothing is kept where nobody asks for it.
    #expect(try Sharing(job: "a").work() == nil)
    let kept = try #require(try Sharing(folder: "kept", job: "a").work())
    #expect(kept.folder == "kept" && !kept.division.isDivided)
    // A shard needs a folder.
    let shard = try #require(Shard("2/3"))
    #expect(throws: TaskError.self) { try Sharing(shard: shard, job: "a").work() }
    let part = try #require(try Sharing(shard: shard, folder: "kept", job: "a").work())
    #expect((0..<7).filter(part.division.isOwn) == [1, 4])
    #expect(part.told(.first) == nil)
    #expect(part.told(.done)?.text.hasPrefix("shard 2/3 is done; once all are, --merge kept") == true)
    #expect(part.told(.cancelled)?.json.compact == #"{"finished":false,"folder":"kept"}"#)
    #expect(kept.told(.done) == nil)
    // Folders that are joined are nobody's part; a shard of one is everything.
    let merge = Sharing(shard: shard, merging: ["x", "y"], folder: "kept", job: "a")
    #expect(!merge.division.isDivided && merge.isKept)
    #expect(Sharing(shard: Shard("1/1"), folder: "kept", job: "a").division.shard == nil)
    // Ranks that have no folder take one that is the same for the same job.
    let (one, same, other) = (
      try #require(try Sharing(ranks: SilentRanks(), job: "a").work()),
      try #require(try Sharing(ranks: SilentRanks(), job: "a").work()),
      try #require(try Sharing(ranks: SilentRanks(), job: "b").work())
    )
    #expect(one.folder == same.folder && one.folder != other.folder)
    #expect((0..<7).filter(one.division.isOwn) == [1, 4] && !Sharing(ranks: SilentRanks(), job: "a").isKept)
    // One that somebody named stays.
    for (sharing, isKept) in [
      (Sharing(job: "a"), false), (Sharing(folder: folder + "/mine", job: "a"), true),
    ] {
      try FileManager.default.createDirectory(atPath: folder + "/mine", withIntermediateDirectories: true)
      try AtomicFile.write("{}", to: folder + "/mine/item-0.json")
      sharing.clean(SharedWork(folder: folder + "/mine"))
      #expect(FileManager.default.fileExists(atPath: folder + "/mine") == isKept)
    }
  }

  @Test func threadsOfRanksThatShareAMachine() {
    let cores = ThreadPool.availableCores
    #expect(OneRank().threads == cores)
    #expect(SilentRanks(neighbours: 10_000).threads == 1)
  }

  @Test func namesOfFiles() throws {
    #expect(ImageOutputFormat.adding("-sd", to: "a.b/mean.nii.gz") == "a.b/mean-sd.nii.gz")
    #expect(ImageOutputFormat.adding("-sd", to: "a.b/mean.PNG") == "a.b/mean-sd.PNG")
    #expect(ImageOutputFormat.adding("-sd", to: "a.b/mean") == "a.b/mean-sd")
    var files = ReconstructionFiles()
    files.setImages("out.png", of: [.aipo])
    #expect(files.images == ["out.png"])
    files.setImages("out.png", of: [.aipo, .fixed])
    #expect(files.images == ["out-aipo.png", "out-fixed.png"])
    try files.check()
    for (change, word) in [
      ({ $0.setImages("out.gif", of: [.aipo]) }, "--out is 'out.gif'"), ({ $0.depth = .uint8 }, "--depth"),
      ({ $0.sheet = "sheet.jpg" }, "ends in .png"), ({ $0.observation = "y.png" }, "ends in .npy or .npz"),
      ({ $0.report = "./out-aipo.png" }, "--out and --report both write './out-aipo.png'"),
    ] as [((inout ReconstructionFiles) -> Void, String)] {
      var wrong = files
      change(&wrong)
      let error = #expect(throws: TaskError.self) { try wrong.check() }
      #expect(error?.description.contains(word) == true, "\(String(describing: error))")
    }
    var posterior = PosteriorFiles()
    posterior.mean = "mean.npy"
    let task = PosteriorTask(ReconstructionTask(.denoise))
    #expect(posterior.named(task).map(\.path) == ["mean.npy", "mean-sd.npy", "mean-q5.npy", "mean-q95.npy"])
    try posterior.check(task)
    posterior.draws = "mean-sd.npy"
    #expect(throws: TaskError.self) { try posterior.check(task) }
    (posterior.draws, posterior.report) = (nil, "mean-q5.npy")
    #expect(throws: TaskError.self) { try posterior.check(task) }
  }

  @Test func whatErrorsMean() {
    for (error, kind) in [
      (FileError.missing(path: "a", reason: "b"), .missing),
      (FileError.unwritable(path: "a", reason: "b"), .unwritable),
      (FileError.malformed(path: "a", what: "b", found: "c", expected: "d"), .data),
      (RankError.notBuilt(count: 2), .usage), (RankError.failed("a"), .failure),
      (ProblemError.invalidSigma(-1), .usage), (SolverError.problem(.invalidSigma(-1)), .usage),
      (SolverError.unsupported("a"), .data), (SolverError.prior(RankError.failed("a")), .failure),
      (SolverError.invalidOption(name: "a", found: "b", expected: "c"), .usage),
      (TaskError(.missing, "a"), .missing), (CancellationError(), .failure),
    ] as [(any Error, TaskError.Kind)] {
      #expect(TaskError(error).kind == kind, "\(error)")
    }
  }

  @Test func probabilitiesOfQuantiles() throws {
    #expect(try PosteriorOptions.probabilities("0.05,0.5,0.95") == [0.05, 0.5, 0.95])
    for text in ["", "0.9,0.1", "0.1,0.1", "0,0.5", "0.5,1", "a", "0.1,", "nan"] {
      #expect(throws: SolverError.self, "\(text)") { try PosteriorOptions.probabilities(text) }
    }
    var options = PosteriorOptions()
    try options.check()
    options.threshold = .infinity
    #expect(throws: SolverError.self) { try options.check() }
    options = PosteriorOptions()
    options.level = 1
    #expect(throws: SolverError.self) { try options.check() }
  }

  /// Settings of other verbs than reconstruct are keys, too: each is read as it is written, and refuses what it can't be.
  @Test func keysOfOtherSettings() throws {
    func check<Root: KeyedSettings & Hashable>(
      _ values: KeyValuePairs<String, String>, wrong: [String], _: Root.Type
    )
      throws
    {
      #expect(Root.keys.map(\.name) == values.map(\.key))
      for ((name, text), wrong) in zip(values, wrong) {
        let key = try #require(Root.key(named: name))
        var root = Root()
        try root.set(name, to: text)
        #expect(root != Root(), "\(name)")
        #expect(key.usual != text, "\(name)")
        let same = root
        let error = #expect(throws: TaskError.self) { try root.set(name, to: wrong) }
        #expect(error?.key == name && error?.kind == .usage && root == same)
      }
    }
    try check(
      [
        "sampler": "smc-noise", "space": "z", "chains": "7", "draws": "12", "warmup": "0", "thin": "3",
        "quantiles": "0.1,0.5", "level": "0.5", "exceeds": "-1.5",
      ], wrong: ["smcNoise", "y", "0", "0", "-1", "0.5", "0.5,0.1", "1", "inf"], PosteriorOptions.self)
    try check(
      ["range": "-2:3,0:1", "pixels": "16", "count": "0", "depth": "0.5"], wrong: ["3:1", "15", "-1", "0"],
      PlaneDensity.Settings.self)
    var task = CalibrationTask()
    for (name, text) in [("problems", "3"), ("ranks", "800"), ("from", "truth")] {
      try task.set(name, to: text)
    }
    #expect(task.problems == 3 && task.ranks == 800 && task.start == .truth)
    try task.check()
    // Four chains of 200 draws.
    task.start = .chains
    try task.check()
    task.ranks = 801
    #expect(throws: TaskError.self) { try task.check() }
    task.problems = 0
    #expect(throws: TaskError.self) { try task.check() }
    task.problem.simulate = "images.npy"
    try task.check()
    #expect(PosteriorOptions.key(named: "quantiles")?.usual == "0.05,0.95")
    #expect(throws: TaskError.self) { try task.set("chains", to: "2") }
  }

  /// What a training tells whom: lines of its own, warnings, remarks, and steps from where this process begins.
  @Test func whatATrainingTells() throws {
    final class Said { var lines: [String] = [] }
    let said = Said()
    var teller = TrainingTeller()
    teller.tell = { said.lines.append("tell: " + $0) }
    teller.warn = { said.lines.append("warn: " + $0) }
    teller.remark = { said.lines.append("remark: " + $0) }
    teller.update = { said.lines.append("\($0)\($2 ? " first" : ""): \($1)") }
    for event in [
      .step(5, of: 9, bitsPerDim: 3.14159, gradientNorm: 1, rate: 0.001),
      .validation(step: 5, Evaluation(of: [2.5])), .checkpoint(step: 5),
      .rolledBack(step: 6, reason: "NaN", rateScale: 0.5),
      .step(6, of: 9, bitsPerDim: 3, gradientNorm: 1, rate: 0.001),
    ] as [TrainingEvent<Float>] { try teller.observe(event) }
    #expect(
      said.lines == [
        "5 first: 3.142 bits/dim, rate 0.001000", "remark: step 5: validation 2.5000 bits/dim",
        "remark: step 5: checkpoint",
        "warn: step 6 undone: NaN; the rate is 0.5000 of the schedule's for a while",
        "6: 3.000 bits/dim, validation 2.500, rate 0.001000",
      ])
  }

  @Test func howFarWorkHasCome() {
    var text = ProgressText("train", total: 8, unit: "steps")
    #expect(text.line(0, seconds: 0) == "train ···················· 0/8 steps")
    #expect(
      text.line(2, seconds: 4, detail: "x") == "train █████··············· 2/8 steps, 0.50/s, 12 s left, x")
    // A run that goes on at step 4 has made two of them.
    text.first = 4
    #expect(text.line(6, seconds: 1) == "train ███████████████····· 6/8 steps, 2.00/s, 1 s left")
    #expect(
      [-1, 59.4, 200, 7500, .infinity].map(ProgressText.duration) == [
        "0 s", "59 s", "3 min 20 s", "2 h 5 min", "–",
      ])
  }

  @Test func productsWithArraysInFiles() throws {
    let shape = ImageShape(height: 1, width: 3, channels: 1)
    let map = try DenseMap(Matrix(rows: 2, columns: 3, rowMajor: [1, 2, 3, 4, 5, 6]), input: shape)
    let (x, u) = (folder + "/x.npy", folder + "/u.npy")
    try NPYFile.write(Tensor<Double>([1, -1, 2]), to: x)
    try NPYFile.write(Tensor<Double>([1, 10]), to: u)
    let product = OperatorProduct(map, threads: 1)
    let (ax, au) = (try product.apply(x), try product.adjoint(u))
    #expect(ax.elements == [5, 11] && ax.shape == [2])
    #expect(au.elements == [41, 52, 63] && au.shape == [1, 3, 1])
    #expect(throws: TaskError.self) { try product.apply(u) }
    let squared = IntensityMap(map, isComplex: false)
    #expect(throws: TaskError.self) { try OperatorProduct(squared, threads: 1).adjoint(u) }
  }

  @Test func picturesSideBySide() throws {
    let (a, b, c) = (folder + "/a.npy", folder + "/b.npy", folder + "/c.npy")
    try NPYFile.write(Tensor<Float>(shape: [2, 2, 2, 1], elements: (0..<8).map { Float($0) / 8 }), to: a)
    try NPYFile.write(Tensor<Float>(shape: [1, 2, 2, 1], elements: [0, 0, 0, 1]), to: b)
    try NPYFile.write(Tensor<Float>(shape: [1, 3, 2, 1], elements: [0, 0, 0, 1, 0, 0]), to: c)
    let batch = try ImageGrid.read([a, b])
    #expect(batch.shape == [3, 2, 2, 1] && batch.elements[8...] == [0, 0, 0, 1])
    #expect(throws: TaskError.self) { try ImageGrid.read([a, c]) }
    let grid = try ImageGrid(checking: batch, columns: 3, gap: 0)
    #expect(grid.shape == ImageShape(height: 2, width: 6, channels: 1))
    #expect(throws: TaskError.self) { try ImageGrid(checking: batch, gap: 100_000) }
    #expect(throws: TaskError.self) {
      try ImageGrid(checking: batch, columns: 3, labels: .init(above: ["one", "two"]))
    }
  }
}
