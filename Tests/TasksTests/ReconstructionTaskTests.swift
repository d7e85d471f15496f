import AIPOSolvers
import AIPOTasks
import Foundation
import Testing

/// A task as a value: one table of settings behind flags, studies and JSON.
@Suite struct ReconstructionTaskTests {
  /// A text that each key takes.
  private static let texts: [String: String] = [
    "task": "inpaint", "method": "aipo,tv", "observation": "y.npy", "operator": "A.npy", "truth": "t.png",
    "simulate": "images.idx", "indices": "5:900:37", "range": "0:255", "layout": "nchw", "crop": "8x16",
    "resize": "4x4", "grey": "true", "colour": "true", "model": "m.safetensors",
    "seed": "18446744073709551615",
    "noise": "student", "sigma": "0.25", "noise-covariance": "c.npy", "tip": "0.5", "nu": "4", "peak": "100",
    "counts": "true", "outliers": "0.2", "measurements": "30", "mask": "box:1,2,3,4", "mask-threshold": "0.5",
    "path": "curve:3,0/1,1", "lambda": "2", "flow-share": "0.5", "space": "z", "corrector": "adam",
    "predictor": "tangent", "init": "zero", "probes": "3", "tolerance": "0.01", "epsilon": "0.1",
    "max-evaluations": "7", "precision": "float64", "restarts": "5", "penalty": "3",
    "kernel": "motion:9.125,-30", "boundary": "valid", "scale": "4", "phase": "7.5", "pattern": "RGB/BGR",
    "mixing": "M.npy", "ensemble": "dct", "geometry": "fan:200.0,100.5", "angles": "0.0:180.0:1.5",
    "detectors": "99",
    "detector-spacing": "0.7", "offset": "-1.5", "pixel-size": "0.25", "size": "64x48",
    "kspace-mask": "lines:4", "coils": "coils.npy", "quantize": "3", "saturate": "0:0.75",
    "trajectory": "spiral.npy", "kernel-of": "image",
  ]

  /// Whatever a key is set to is written, and read again as the same task.
  @Test(arguments: ReconstructionTask.keys.map(\.name)) func keysAreWrittenAndRead(_ name: String) throws {
    let text = try #require(Self.texts[name], "a new key: give a text for it")
    var task = ReconstructionTask()
    try task.set(name, to: text)
    #expect(task != ReconstructionTask())
    let key = try #require(ReconstructionTask.key(named: name))
    let members = JSONValue(encoding: task).members
    #expect(members.map(\.0) == [key.jsonName])
    var again = ReconstructionTask()
    try again.set(name, to: members[0].1.text)
    #expect(again == task)
  }

  @Test func valuesOutOfRangeNameTheirKey() {
    for (name, text) in [
      ("sigma", "0"), ("lambda", "-1"), ("tolerance", "1"), ("max-evaluations", "0"), ("init", "auto"),
      ("method", "aipo,aipo"), ("task", "blur"), ("mask", "random:2"), ("seed", "-1"), ("sigmas", "1"),
    ] {
      var task = ReconstructionTask()
      let error = #expect(throws: TaskError.self) { try task.set(name, to: text) }
      #expect(error?.key == name && error?.kind == .usage && task == ReconstructionTask())
    }
  }

  /// Two settings that can't go together are refused for the one to change.
  @Test func settingsAtOdds() throws {
    let denoise = ["task": "denoise", "simulate": "x.npy"]
    for (settings, key) in [
      ([:], "task"), (["task": "denoise"], "observation"), (["task": "sense", "simulate": "x.npy"], "task"),
      (denoise.merging(["mask": "center:2"]) { $1 }, "mask"), (denoise.merging(["tip": "1"]) { $1 }, "tip"),
      (denoise.merging(["penalty": "1"]) { $1 }, "penalty"),
      (denoise.merging(["noise": "laplace", "sigma": "auto"]) { $1 }, "sigma"),
      (denoise.merging(["method": "restarts", "init": "zero"]) { $1 }, "init"),
    ] as [([String: String], String)] {
      var task = ReconstructionTask()
      for (name, text) in settings { try task.set(name, to: text) }
      let error = #expect(throws: TaskError.self) { try task.check() }
      #expect(error?.key == key, "\(settings)")
    }
  }

  @Test func codableGoesThroughTheTable() throws {
    var task = ReconstructionTask(.sense)
    task.simulate = "x.npy"
    task.measurements = 12
    task.sigma = 0.05
    task.methods = [.aipo, .fixed]
    task.counts = false
    let json = JSONValue(encoding: task)
    #expect(
      json.compact
        == #"{"task":"sense","method":"aipo,fixed","simulate":"x.npy","sigma":0.05,"measurements":12}"#)
    #expect(try JSONDecoder().decode(ReconstructionTask.self, from: Data(json.compact.utf8)) == task)
    #expect(throws: TaskError.self) {
      try JSONDecoder().decode(ReconstructionTask.self, from: Data(#"{"task":"sense","sigma":-1}"#.utf8))
    }
  }
}

@Suite struct JSONValueTests {
  private struct Inner: Encodable {
    var last: Double?
    var first = 1
    var list: [Inner]? = nil
  }

  /// Keys in their order, and null for what Foundation leaves out or refuses.
  @Test func valuesAreWrittenByTheirOwnCoding() throws {
    let value = Inner(last: nil, first: 2, list: [Inner(last: .nan), Inner(last: 0.1)])
    let json = JSONValue(encoding: value).compact
    #expect(
      json
        == #"{"last":null,"first":2,"list":[{"last":null,"first":1,"list":null},{"last":0.1,"first":1,"list":null}]}"#
    )
    #expect(JSONValue(encoding: [UInt64.max]).compact == "[18446744073709551615]")
    #expect(JSONValue(encoding: String?.none).compact == "null")
    let text = "\"\\\n\u{1}é"
    #expect(
      try JSONDecoder().decode([String].self, from: Data(JSONValue(encoding: [text]).pretty.utf8)) == [text])
  }
}
