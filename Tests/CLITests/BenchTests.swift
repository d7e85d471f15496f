import Foundation
import Testing

/// `aipo bench`: the keys that scripts rely on, and figures that agree with each other.
@Suite struct BenchTests {
  private static let tiny = [
    "bench", "flow", "--levels", "2", "--steps", "1", "--hidden", "6", "--size", "8", "--channels", "1",
    "--batch",
    "3", "--repeat", "2", "--threads", "1",
  ]

  @Test(arguments: ["float32", "float64"])
  func flow(precision: String) throws {
    let folder = try Scratch()
    let result = try Program.run(Self.tiny + ["--precision", precision, "--json"], in: folder)
    #expect(result.status == 0, "\(result.error)")
    #expect(result.error.isEmpty)
    let json = try result.json
    for key in [
      "forward_ms", "inverse_ms", "latent_gradient_ms", "pixel_gradient_ms", "training_step_ms",
      "sgemm_gflops",
      "peak_rss_mb",
    ] {
      let value = try #require(json[key] as? Double, "\(key)")
      #expect(value > 0)
    }
    #expect(json["threads"] as? Int == 1)
    #expect(json["batch"] as? Int == 3)
    // Two levels of 4×4×4 and 2×2×8; a 1×1 convolution and a net of 3×3 (half → 6), 1×1, 3×3 (6 → all) each.
    let adds = 16 * (16 + 9 * 2 * 6 + 36 + 9 * 6 * 4) + 4 * (64 + 9 * 4 * 6 + 36 + 9 * 6 * 8)
    let work = try #require(json["flow_gflop"] as? Double)
    #expect(abs(work - 3 * 2e-9 * Double(adds)) < 1e-15)
    let share = try #require(json["share"] as? [String: Double])
    let expected =
      2 * work / (json["latent_gradient_ms"] as! Double * 1e-3) / (json["sgemm_gflops"] as! Double)
    #expect(abs(share["latent_gradient"]! / expected - 1) < 1e-9)
    #expect(try folder.names.isEmpty)
  }

  @Test func patches() throws {
    let flags = [
      "bench", "patches", "--patch", "4", "--size", "17", "--couplings", "2", "--hidden", "6", "--repeat",
      "2",
      "--threads", "1",
    ]
    let result = try Program.run(flags + ["--json"], in: Scratch())
    #expect(result.status == 0 && result.error.isEmpty, "\(result.error)")
    let json = try result.json
    // Every 2 pixels from −2 on, to 2 beyond the end at most.
    #expect(json["patches"] as? Int == 81 && json["stride"] as? Int == 2)
    // There and back: whitening of 16 values, and nets of 8 to 6 to 6 to 16.
    let work = try #require(json["gflop"] as? Double)
    #expect(abs(work - 4e-9 * 81 * Double(2 * 256 + 2 * (48 + 36 + 96))) < 1e-15)
    let milliseconds = try #require(json["evaluation_ms"] as? Double)
    let share = work / (milliseconds * 1e-3) / (json["sgemm_gflops"] as! Double)
    #expect(abs(json["share"] as! Double / share - 1) < 1e-9)
    let text = try Program.run(flags, in: Scratch())
    #expect(text.output.contains("patches of 4x4x1, one every 2 pixels of 17x17x1"), "\(text.output)")
    let gaps = try Program.run(flags + ["--stride", "5"], in: Scratch())
    #expect(gaps.status == 64 && gaps.error.contains("--stride is 5, expected 1 to 4"), "\(gaps.error)")
  }

  @Test func tables() throws {
    let result = try Program.run(Self.tiny, in: Scratch())
    #expect(result.status == 0, "\(result.error)")
    for word in [
      "forward", "inverse", "latent gradient", "pixel gradient", "training step", "GFLOP/s", "share",
    ] {
      #expect(result.output.contains(word))
    }
  }

  @Test(arguments: [["conv1×1", "GFLOP/s"], ["squeeze", "GB/s"]])
  func kernels(_ words: [String]) throws {
    let flags = ["bench", "kernels", "--filter", words[0], "--repeat", "1"]
    let table = try Program.run(flags, in: Scratch())
    #expect(table.status == 0, "\(table.error)")
    #expect(
      table.output.contains(words[0]) && table.output.contains(words[1]) && table.output.contains("PASS"))
    let result = try Program.run(flags + ["--json"], in: Scratch(), environment: ["AIPO_KERNELS": "portable"])
    #expect(result.status == 0 && result.error.isEmpty, "\(result.error)")
    let json = try result.json
    #expect(json["variant"] as? String == "portable")
    #expect(json["pass"] as? Bool == true)
    for key in ["sgemm_gflops", "memory_gbs", "cache_gbs"] { #expect((json[key] as! Double) > 0) }
    let lines = try #require(json["kernels"] as? [[String: Any]])
    #expect(!lines.isEmpty)
    for line in lines {
      let isConvolution = words[1] == "GFLOP/s"
      #expect((line["kernel"] as! String).contains(words[0]))
      #expect((line[isConvolution ? "gflops" : "gbs"] as! Double) > 0)
      #expect(line[isConvolution ? "gbs" : "gflops"] is NSNull)
      #expect((line["share"] as! Double) > 0)
      let (residual, tolerance) = (line["residual"] as! Double, line["tolerance"] as! Double)
      #expect(residual <= tolerance)
    }
  }

  @Test(arguments: [
    ["bench", "kernels", "--filter", "no such kernel"], ["bench", "kernels", "--repeat", "0"],
    ["bench", "nothing"], ["bench", "flow", "--levels", "0"], ["bench", "flow", "--batch", "x"],
    ["bench", "flow", "--repeat", "0"], ["bench", "flow", "--size", "12", "--levels", "3"],
    ["bench", "flow", "--precision", "float16"], ["bench", "flow", "--hidden", "-1"],
  ])
  func wrongFlags(_ arguments: [String]) throws {
    let result = try Program.run(arguments, in: Scratch())
    #expect(result.status == 64)
    #expect(result.output.isEmpty)
    #expect(!result.error.isEmpty)
  }
}
