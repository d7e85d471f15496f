import AIPO
import Foundation

/// A law of points near [0, 1]^d that a small flow is trained on.
enum PointFamily: String, CaseIterable {
  /// Gaussians of deviation 0.06 and unequal weights.
  case mixture
  /// Two rings; in 4-D a curve that winds round both planes.
  case rings
  /// Two half circles that reach into each other; in 4-D a pair of moons in each plane, of the same side.
  case moons

  /// Point i of a set; everything random is keyed by (seed, i).
  func point(dimension d: Int, seed: UInt64, index: Int) -> [Double] {
    var random = Philox(seed: seed, index: UInt64(index), purpose: .study)
    switch self {
    case .mixture:
      let weights = [0.3, 0.25, 0.2, 0.15, 0.1]
      var (k, rest) = (0, random.uniform())
      while k < weights.count - 1, rest >= weights[k] {
        rest -= weights[k]
        k += 1
      }
      return (0..<d).map { Self.centres[k][$0] + 0.06 * random.normal() }
    case .rings:
      let angle = 2 * Double.pi * random.uniform()
      if d == 2 {
        let radius = (random.uniform() < 0.4 ? 0.16 : 0.4) + 0.03 * random.normal()
        return [0.5 + radius * cos(angle), 0.5 + radius * sin(angle)]
      }
      let circles = [cos(angle), sin(angle), cos(2 * angle), sin(2 * angle)]
      return circles.map { 0.5 + 0.35 * $0 + 0.04 * random.normal() }
    case .moons:
      let lower = random.uniform() < 0.5
      return (0..<d / 2).flatMap { _ -> [Double] in
        let angle = Double.pi * random.uniform()
        let (x, y) = lower ? (1 - cos(angle), 0.5 - sin(angle)) : (cos(angle), sin(angle))
        return [
          0.17 + 0.33 * (x + 1) / 1.5 + 0.03 * random.normal(),
          0.3 + 0.4 * (y + 0.5) / 1.5 + 0.03 * random.normal(),
        ]
      }
    }
  }

  private static let centres = [
    [0.25, 0.25, 0.3, 0.7], [0.75, 0.35, 0.7, 0.3], [0.4, 0.8, 0.75, 0.75], [0.8, 0.8, 0.25, 0.25],
    [0.1, 0.6, 0.6, 0.4],
  ]
}

/// The prior of a family: a flow with a smooth activation, trained by one recipe.
struct TrainedPrior {
  let flow: Flow<Double>
  let gaussian: GaussianPrior
  let figures: ModelFigures

  /// Trains in `folder`, or takes the model that is there already.
  init(_ family: PointFamily, dimension d: Int, steps: Int, folder: String, threads: Int) throws {
    func points(_ range: Range<Int>) throws -> TrainingImages {
      try TrainingImages(
        shape: .vector(d), reals: range.flatMap { family.point(dimension: d, seed: 1, index: $0) })
    }
    var config = TrainingConfig()
    config.dequantization = .none
    config.steps = steps
    config.batch = 256
    config.rate.peak = 0.003
    config.validation.images = .count(1000)
    config.samples.every = 0
    config.checkpointEvery = steps
    config.about.name = "\(family.rawValue), \(d)-D"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    let training = FlowTraining(
      spec: .vector(couplings: 8, hidden: [32, 32], activation: .silu), config: config,
      images: try points(0..<20_000), test: try points(20_000..<24_000), folder: folder, threads: threads)
    guard case .finished(let model) = try training.run(as: Float.self, resume: true) else {
      throw StudyFailure("the training in \(folder) was stopped")
    }
    flow = try model.makeFlow(threads: threads)
    guard let gaussian = try GaussianPrior.ofTrainingImages(model) else {
      throw StudyFailure("the model in \(folder) holds no Gaussian")
    }
    self.gaussian = gaussian
    figures = model.figures
  }
}

struct StudyFailure: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}
