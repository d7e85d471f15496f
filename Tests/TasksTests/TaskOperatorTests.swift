import AIPOImaging
import AIPOKernels
import AIPOProblems
import AIPOTasks
import Foundation
import Testing

/// What the flags of a task make of an image.
@Suite struct TaskOperatorTests {
  private func task(_ kind: TaskKind, _ settings: [String: String]) throws -> ReconstructionTask {
    var task = ReconstructionTask(kind)
    task.simulate = "images.npy"
    for (key, value) in settings { try task.set(key, to: value) }
    try task.check()
    return task
  }

  private func apply(_ map: any Map, _ x: [Double]) throws -> [Double] {
    let input = try Tensor(x)
    var output = try Tensor<Double>(count: map.output.count)
    try output.withMemory { try map.apply(input.view, into: $0, Scratch()) }
    return output.elements
  }

  /// ×4 of a picture that goes on as its own first rows and columns: sums of 16 × 16 pixels from every fourth on, with
  /// weights of deviation 2 around their middle. By a Gaussian with its phase, and by a file of weights.
  @Test func sixteenWeightsFromEveryFourthPixel() throws {
    let n = 24
    let x = (0..<n * n).map { (k: Int) -> Double in
      let mixed: Int = (k * k * 7 + 5 * k) % 31
      return Double(mixed) / 30
    }
    let shape = ImageShape(height: n, width: n, channels: 1)
    var line = [Double](repeating: 0, count: 16)
    for a in 0..<16 {
      let offset = Double(a) - 7.5
      line[a] = exp(-offset * offset / 8)
    }
    let sum = line.reduce(0, +)
    var expected: [Double] = []
    for i in 0..<n / 4 {
      for j in 0..<n / 4 {
        var value = 0.0
        for a in 0..<16 {
          for b in 0..<16 {
            let row: Int = (4 * i + a) % n
            let column: Int = (4 * j + b) % n
            let weight: Double = line[a] * line[b] / (sum * sum)
            value += weight * x[row * n + column]
          }
        }
        expected.append(value)
      }
    }
    // With 15 zeros before it the first of 16 weights is in the middle.
    var weights = [Double](repeating: 0, count: 31 * 31)
    for a in 0..<16 { for b in 0..<16 { weights[(15 + a) * 31 + 15 + b] = line[a] * line[b] / (sum * sum) } }
    let file = FileManager.default.temporaryDirectory.path + "/aipo-kernel-" + UUID().uuidString + ".npy"
    defer { try? FileManager.default.removeItem(atPath: file) }
    try NPYFile.write(Tensor(shape: [31, 31], elements: weights), to: file)
    for settings in [
      ["scale": "4", "kernel": "gaussian:2", "phase": "7.5", "boundary": "circular"],
      ["scale": "4", "kernel": file, "phase": "0", "boundary": "circular"],
    ] {
      let measurement = try TaskOperator(task(.superresolve, settings))
      let found = try apply(try measurement.map(shape), x)
      #expect(found.count == 36 && measurement.measured(shape).count == 36)
      let error = zip(found, expected).map { ($0 - $1).magnitude }.max() ?? 1
      #expect(error < 1e-14, "\(settings)")
    }
  }

  /// A sparse matrix of a file, as it is written in Matrix Market's format.
  @Test func sparseMatrices() throws {
    let file = FileManager.default.temporaryDirectory.path + "/aipo-sparse-" + UUID().uuidString + ".mtx"
    defer { try? FileManager.default.removeItem(atPath: file) }
    let text = "%%MatrixMarket matrix coordinate real general\n2 4 3\n1 1 2.5\n2 4 -1\n2 1 3\n"
    try text.write(toFile: file, atomically: true, encoding: .utf8)
    let measurement = try TaskOperator(task(.sense, ["operator": file]))
    let map = try measurement.map(ImageShape(height: 2, width: 2, channels: 1))
    #expect(try apply(map, [1, 2, 3, 4]) == [2.5, -1])
    #expect(map is SparseMap)
    #expect(throws: TaskError.self) { try measurement.map(ImageShape(height: 2, width: 3, channels: 1)) }
  }

  /// What is measured of an image is what its map gives, and the image of it is found again.
  @Test func shapes() throws {
    let cases: [(TaskKind, [String: String])] = [
      (.denoise, [:]), (.deblur, ["kernel": "disk:2"]),
      (.deblur, ["kernel": "gaussian:1", "boundary": "valid"]),
      (.superresolve, ["scale": "3"]), (.superresolve, ["scale": "2", "kernel": "motion:4,20"]),
      (.demosaic, ["pattern": "BGGR"]), (.unmix, [:]),
      (.ct, ["angles": "7", "sigma": "1"]),
      (.ct, ["angles": "0:360:20", "sigma": "1", "geometry": "fan:60,20", "detectors": "9"]),
      (.sense, ["measurements": "30", "ensemble": "hadamard"]),
    ]
    let mri = try TaskOperator(task(.mri, ["kspace-mask": "lines:3"]))
    let image = ImageShape(height: 18, width: 12, channels: 1)
    #expect(try mri.map(image).output == mri.measured(image))

    for (kind, settings) in cases {
      let measurement = try TaskOperator(task(kind, settings))
      for (height, width) in [(18, 12), (13, 31)] {
        let image = ImageShape(height: height, width: width, channels: 3)
        let measured = measurement.measured(image)
        #expect(try measurement.map(image).output == measured, "\(kind) \(settings)")
        guard measurement.isPicture else { continue }
        let back = measurement.image(measuredAs: measured)
        #expect(measurement.measured(back) == measured, "\(kind) \(settings)")
        if height == 18 { #expect(back == image) }
      }
    }
  }

  @Test func whatDoesNotGoTogether() throws {
    for (kind, settings, key) in [
      (TaskKind.deblur, [:], "task"), (.deblur, ["kernel": "bicubic"], "kernel"),
      (.deblur, ["kernel": "disk:1", "scale": "2"], "scale"), (.superresolve, [:], "task"),
      (.superresolve, ["scale": "2", "boundary": "valid"], "boundary"),
      (.superresolve, ["scale": "2", "kernel": "disk:1", "phase": "2"], "phase"),
      (.superresolve, ["scale": "1"], "scale"), (.deblur, ["kernel": "gaussian:0"], "kernel"),
      (.deblur, ["kernel": "motion:3"], "kernel"), (.denoise, ["kernel": "disk:1"], "kernel"),
      (.demosaic, ["pattern": "RGX"], "pattern"),
      (.sense, ["mixing": "grey", "measurements": "3"], "mixing"), (.ct, ["sigma": "1"], "task"),
      (.ct, ["angles": "9"], "sigma"), (.ct, ["angles": "9", "sigma": "1", "geometry": "fan:1"], "geometry"),
      (.sense, ["ensemble": "dct", "operator": "A.npy"], "ensemble"), (.denoise, ["angles": "9"], "angles"),
      (.mri, [:], "task"), (.denoise, ["coils": "c.npy"], "coils"),
      (.mri, ["kspace-mask": "lines:0"], "kspace-mask"),
      (.denoise, ["quantize": "3", "noise": "laplace"], "quantize"),
      (.denoise, ["saturate": "0:1", "sigma": "auto"], "sigma"),
    ] as [(TaskKind, [String: String], String)] {
      do {
        _ = try task(kind, settings)
        Issue.record("\(kind) \(settings) passes")
      } catch let error as TaskError {
        #expect(error.key == key, "\(kind) \(settings): \(error)")
      }
    }
  }
}
