import AIPOFlows
import AIPOKernels
import Foundation

/// A density with exact gradients, small enough to train in milliseconds: one mean and one log-deviation a
/// pixel. It can be made to fail at chosen calls.
final class TrainingGaussian<Scalar: KernelScalar>: TrainableFlow {
  let imageShape: ImageShape
  var parameters: [Scalar]
  /// Calls of `trainingGradient` that give NaN, counted from 0.
  var failing: Set<Int> = []
  /// Parameters that it says no density can be made of.
  var refused: [Scalar]?
  private(set) var calls = 0

  init(_ shape: ImageShape) {
    imageShape = shape
    parameters = Array(repeating: 0, count: 2 * shape.count)
  }

  func setParameters(_ values: [Scalar]) throws {
    if values == refused { throw FlowError.unusableParameters(name: "mean", reason: "is refused") }
    parameters = values
  }

  var parameterCount: Int { parameters.count }
  private var d: Int { imageShape.count }

  var namedTensors: [NamedTensor] {
    [
      NamedTensor(name: "mean", shape: [d], scalars: Array(parameters[..<d])),
      NamedTensor(name: "logDeviation", shape: [d], scalars: Array(parameters[d...])),
    ]
  }

  func load(_ tensors: [NamedTensor]) throws {
    let byName = Dictionary(uniqueKeysWithValues: tensors.map { ($0.name, $0) })
    parameters =
      byName["mean"]!.scalars(as: Scalar.self) + byName["logDeviation"]!.scalars(as: Scalar.self)
  }

  func initialize(from batch: Tensor<Scalar>) throws {
    let n = batch.shape[0]
    for i in 0..<d {
      var sum: Scalar = 0
      for k in 0..<n { sum += batch[flat: k * d + i] }
      parameters[i] = sum / Scalar(n)
    }
  }

  func trainingGradient(_ x: Tensor<Scalar>, gradient: inout [Scalar]) throws -> [Double] {
    defer { calls += 1 }
    let n = x.shape[0]
    for i in gradient.indices { gradient[i] = 0 }
    if failing.contains(calls) {
      gradient[0] = .nan
      return Array(repeating: .nan, count: n)
    }
    for k in 0..<n {
      for i in 0..<d {
        let inverse = Scalar(exp(Double(-parameters[d + i])))
        let z = (x[flat: k * d + i] - parameters[i]) * inverse
        gradient[i] -= z * inverse / Scalar(n)
        gradient[d + i] += (1 - z * z) / Scalar(n)
      }
    }
    return try logProb(x).map { -$0 }
  }

  func logProb(_ x: Tensor<Scalar>) throws -> [Double] {
    (0..<x.shape[0]).map { k in
      (0..<d).reduce(0) { sum, i in
        let logDeviation = Double(parameters[d + i])
        let z = (Double(x[flat: k * d + i]) - Double(parameters[i])) * exp(-logDeviation)
        return sum - 0.5 * z * z - logDeviation - 0.5 * log(2 * Double.pi)
      }
    }
  }

  func sample(indices: Range<Int>, temperature: Double, seed: UInt64) throws -> Tensor<Scalar> {
    var elements: [Scalar] = []
    for k in indices {
      var random = Philox(seed: seed, index: UInt64(k), purpose: .sample)
      for i in 0..<d {
        elements.append(
          parameters[i] + Scalar(temperature * exp(Double(parameters[d + i])) * random.normal()))
      }
    }
    return try Tensor(
      shape: [indices.count, imageShape.height, imageShape.width, imageShape.channels], elements: elements)
  }
}

/// A folder that goes away with the object.
final class TrainingFolder {
  let path: String

  init() {
    path = NSTemporaryDirectory() + "aipo-training-" + UUID().uuidString
    try! FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  func bytes(_ name: String) -> [UInt8] {
    FileManager.default.contents(atPath: path + "/" + name).map { [UInt8]($0) } ?? []
  }
}

/// Images with a gradient of brightness and noise in it.
func trainingImages(_ count: Int, _ shape: ImageShape, seed: UInt64 = 5) -> TrainingImages {
  var random = Philox(seed: seed, purpose: .test)
  let pixels = (0..<count * shape.count).map { k -> UInt8 in
    let place = Double(k % shape.count) / Double(shape.count)
    return UInt8(max(0, min(255, 40 + 150 * place + 25 * random.normal())))
  }
  return try! TrainingImages(shape: shape, pixels: pixels)
}
