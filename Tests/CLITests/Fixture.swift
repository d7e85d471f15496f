import Foundation
import Testing

/// Small images, and a small model that the command has trained on them.
struct Fixture {
  static let side = 8
  static let count = 48
  static let dimension = side * side

  /// Settings of a training that takes a second or two.
  static let yaml = """
    flow:
      glow: {levels: 1, steps: 2, hidden: 8}
    steps: 80
    batch: 16
    warmup: 10
    log-every: 5
    checkpoint-every: 10
    initialization-images: 32
    validation: {images: 8, every: 40}
    samples: {every: 40, count: 4}

    """

  static var images: [UInt8] {
    TestIDX.bytes(count: count, side: side) { image, y, x in
      let wave = sin(Double(x) * 0.7 + Double(image)) + cos(Double(y) * 0.5 + 0.3 * Double(image))
      return UInt8(min(max(127 + 55 * wave + Double((image * 31 + y * 17 + x * 5) % 11), 0), 255))
    }
  }

  /// The folder that holds `images.idx`, `run.yaml` and the trained `run/model.safetensors`.
  static let shared = Result { try Fixture() }

  let folder: Scratch
  var model: String { folder["run/model.safetensors"] }
  var images: String { folder["images.idx"] }

  private init() throws {
    folder = try Scratch()
    try folder.write(Self.images, to: "images.idx")
    try folder.write(Self.yaml, to: "run.yaml")
    let result = try Program.run(
      ["train", "--data", "images.idx", "--config", "run.yaml", "--out", "run", "--test", "images.idx"],
      in: folder)
    try #require(result.status == 0, "\(result.error)")
  }

  /// Runs a verb with the model in a folder of the caller's.
  func run(_ arguments: [String], in folder: Scratch, outputPath: String? = nil) throws -> Program.Result {
    try Program.run(arguments, in: folder, environment: ["AIPO_MODEL": model], outputPath: outputPath)
  }

  /// The true images on [0, 1].
  static func truth(_ index: Int) -> [Double] {
    images[(16 + index * dimension)..<(16 + (index + 1) * dimension)].map { (Double($0) + 0.5) / 256 }
  }
}

extension Program.Result {
  /// Standard output as one JSON object.
  var json: [String: Any] {
    get throws {
      let value = try JSONSerialization.jsonObject(with: Data(output.utf8))
      return try #require(value as? [String: Any])
    }
  }

  /// Whether it failed as it must: this code, one line that says why, nothing on standard output.
  func fails(_ code: Int32, saying words: String...) -> Bool {
    status == code && !wasKilled && output.isEmpty && errorLines.count == 1
      && words.allSatisfy { error.contains($0) }
  }
}
