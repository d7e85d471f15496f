import Foundation
import Testing

/// `--shard`, `--state` and `--merge`: parts of a job, by processes that don't know of each other, give the bytes of one.
@Suite(.serialized) struct ShardTests {
  let fixture: Fixture
  let folder: Scratch

  init() throws {
    fixture = try Fixture.shared.get()
    folder = try Scratch()
    try folder.write(Fixture.images, to: "images.idx")
  }

  private static let reconstruct = [
    "reconstruct", "--simulate", "images.idx", "--indices", "0:5:1", "--task", "denoise", "--sigma", "auto",
    "--max-evaluations", "40", "--method", "aipo,fixed", "--out", "x.npy", "--report", "report.html",
    "--trace",
    "trace.jsonl",
  ]
  private static let files = ["x-aipo.npy", "x-fixed.npy", "report.html", "trace.jsonl"]

  /// Runs, and gives the JSON without the times and the bytes of the files, which are removed.
  private func results(_ arguments: [String], _ names: [String]) throws -> [String: [UInt8]] {
    let run = try fixture.run(arguments + ["--json"], in: folder)
    try #require(run.status == 0, "\(run.error)")
    let lines = run.output.split(separator: "\n").filter { !$0.contains("\"seconds\"") }
    var files = ["json": Array(lines.joined(separator: "\n").utf8)]
    for name in names {
      files[name] = try folder.read(name)
      try FileManager.default.removeItem(atPath: folder[name])
    }
    return files
  }

  @Test func shardsOfReconstructionsAreJoinedToTheSameBytes() throws {
    let whole = try results(Self.reconstruct, Self.files)
    for shard in ["1/3", "2/3", "3/3"] {
      let run = try fixture.run(
        Self.reconstruct + ["--state", "kept-\(shard.prefix(1))", "--shard", shard], in: folder)
      #expect(run.status == 0 && !folder.exists("x-aipo.npy"), "\(run.error)")
    }
    let merge = ["--merge", "kept-1", "kept-2", "kept-3"]
    #expect(try results(Self.reconstruct + merge, Self.files) == whole)
    // In one folder, where a killed run goes on.
    #expect(try results(Self.reconstruct + ["--state", "kept-2"], Self.files) == whole)
    // An image is missing.
    try FileManager.default.removeItem(atPath: folder["kept-1/item-3.json"])
    let torn = try fixture.run(Self.reconstruct + ["--merge", "kept-1", "kept-3"], in: folder)
    #expect(torn.fails(65, saying: "item-1.json is missing"), "\(torn.error)")
    // Other settings.
    let other = try fixture.run(Self.reconstruct + ["--seed", "1", "--state", "kept-2"], in: folder)
    #expect(other.fails(65, saying: "a run of other settings"), "\(other.error)")
    // A damaged file.
    let text = try folder.read("kept-2/item-1.json")
    try folder.write(Array(text.prefix(text.count / 2)), to: "kept-2/item-1.json")
    let damaged = try fixture.run(Self.reconstruct + ["--state", "kept-2"], in: folder)
    #expect(damaged.fails(65, saying: "kept-2/item-1.json: what was kept is damaged"), "\(damaged.error)")
  }

  @Test func shardsOfCalibrationsAndPosteriorsAreJoinedToTheSameBytes() throws {
    let sampling = ["--task", "denoise", "--sigma", "0.2", "--draws", "12", "--warmup", "8", "--chains", "2"]
    let jobs: [(arguments: [String], files: [String])] = [
      (["calibrate", "--problems", "5", "--ranks", "5", "--report", "c.html"] + sampling, ["c.html"]),
      (
        [
          "posterior", "--simulate", "images.idx", "--indices", "0:3:1", "--out", "m.npy", "--save-draws",
          "d.npz",
        ]
          + sampling, ["m.npy", "m-sd.npy", "d.npz"]
      ),
    ]
    for (arguments, files) in jobs {
      let whole = try results(arguments, files)
      for shard in ["1/2", "2/2"] {
        let run = try fixture.run(
          arguments + ["--state", "\(arguments[0])-\(shard.prefix(1))", "--shard", shard], in: folder)
        #expect(run.status == 0, "\(run.error)")
      }
      let merge = ["--merge", "\(arguments[0])-1", "\(arguments[0])-2"]
      #expect(try results(arguments + merge, files) == whole, "\(arguments[0])")
      let torn = try fixture.run(arguments + ["--merge", "\(arguments[0])-1"], in: folder)
      #expect(torn.fails(65, saying: "is missing"), "\(torn.error)")
    }
  }

  @Test func shardsOfAStudyAreJoinedToTheSameBytes() throws {
    try folder.write(
      """
      title: A test
      options: {simulate: images.idx, max-evaluations: 20, indices: 0:20:1}
      variants: [{method: [aipo, fixed]}]
      grids: [{name: Denoising, options: {task: denoise, sigma: [0.1, 0.2]}}]

      """, to: "study.yaml")
    func study(_ more: [String], _ environment: [String: String] = [:]) throws -> Program.Result {
      try Program.run(
        ["study", "study.yaml"] + more, in: folder,
        environment: environment.merging(["AIPO_MODEL": fixture.model]) { $1 })
    }
    #expect(try study(["--out", "whole"]).status == 0)
    // The tasks of a Slurm array with every third number, in one folder and in two.
    for (id, out) in [("2", "a"), ("5", "a"), ("8", "b")] {
      let array = ["ID": id, "COUNT": "3", "MIN": "2", "MAX": "8"]
      let run = try study(
        ["--out", out],
        Dictionary(uniqueKeysWithValues: array.map { ("SLURM_ARRAY_TASK_" + $0, $1) }))
      #expect(run.status == 0 && run.output.contains("shard"), "\(run.error)")
    }
    #expect(!folder.exists("a/results.csv"))
    let torn = try study(["--out", "torn", "--merge", "a"])
    #expect(torn.fails(65, saying: "of 80 solves are in none of the folders"), "\(torn.error)")
    #expect(try study(["--out", "all", "--merge", "a", "b"]).status == 0)
    for name in ["results.csv", "results.json", "results.md", "report.html"] {
      #expect(try folder.read("all/\(name)") == folder.read("whole/\(name)"), "\(name)")
    }
    // Another study's folder.
    try folder.write(
      "title: B\ngrids: [{name: B, options: {task: denoise, simulate: images.idx}}]\n", to: "study.yaml")
    let other = try study(["--out", "other", "--merge", "a"])
    #expect(other.fails(65, saying: "a/study.json: cell 0"), "\(other.error)")
  }

  @Test func whatCannotBeSharedIsRefused() throws {
    let arguments = ["reconstruct", "--simulate", "images.idx", "--task", "denoise"]
    let lost = try fixture.run(arguments + ["--shard", "1/2"], in: folder)
    #expect(lost.fails(64, saying: "--shard needs --state"), "\(lost.error)")
    for shard in ["0/2", "3/2", "1", "1/0", "a/b", "1/2/3"] {
      let wrong = try fixture.run(arguments + ["--state", "s", "--shard", shard], in: folder)
      #expect(wrong.status == 64 && wrong.error.contains(shard), "\(wrong.error)")
    }
    let ranks = try Program.run(
      ["info"], in: folder, environment: ["OMPI_COMM_WORLD_SIZE": "2", "AIPO_MODEL": fixture.model])
    #expect(ranks.fails(64, saying: "make build MPI=1"), "\(ranks.error)")
  }
}
