import AIPOFlows
import AIPOKernels
import AIPOPlatform

/// A model of ours as tensors that another program loads by their names.
public enum ModelExport {
  /// Dialects that are written.
  public static let dialects: [Dialect] = [.normflows, .glowPytorch]

  /// The tensors, named and laid out as the dialect has them, in the model's precision.
  ///
  /// - Throws: `ExportError` that names what the dialect can't express.
  public static func tensors(of model: FlowModel, as dialect: Dialect) throws -> Safetensors {
    let tensors =
      try model.dtypeName == Double.dtypeName
      ? Exporter<Double>(model, dialect).run() : Exporter<Float>(model, dialect).run()
    return Safetensors(
      metadata: [
        "format": "pt", "dialect": dialect.rawValue,
        "image": "\(model.imageShape.channels),\(model.imageShape.height),\(model.imageShape.width)",
        "bits": "\(model.dequantization.bits)",
      ], tensors: tensors)
  }
}

/// What a dialect can't express.
public struct ExportError: Error, Equatable, CustomStringConvertible {
  public let description: String
}

/// A level of a Glow: its steps, and the coupling before the split that stands for a conditional base.
struct GlowLevel {
  struct Step {
    var actnorm: Int
    var mixing: Int
    var form: MatrixForm
    var coupling: Int
    var spec: CouplingSpec
  }

  var steps: [Step] = []
  var prior: (layer: Int, spec: CouplingSpec)?
  /// The split's place; nil in the last level.
  var split: Int?
}

struct Exporter<Scalar: KernelScalar> {
  let model: FlowModel
  let dialect: Dialect
  private let byName: [String: NamedTensor]
  private var result: [NamedTensor] = []

  init(_ model: FlowModel, _ dialect: Dialect) {
    self.model = model
    self.dialect = dialect
    byName = Dictionary(model.tensors.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
  }

  func refuse(_ what: String) -> ExportError {
    ExportError(description: "\(dialect.rawValue) can't express \(what)")
  }

  consuming func run() throws -> [NamedTensor] {
    guard ModelExport.dialects.contains(dialect) else {
      throw ExportError(
        description: "there is no export to \(dialect.rawValue), only to normflows and glow-pytorch")
    }
    // The model's own checks: names, shapes, finite numbers, matrices with an inverse.
    let levels = try levels()
    if dialect == .normflows { try addNormflows(levels) } else { try addGlowPytorch(levels) }
    return result
  }

  // MARK: The model's structure

  private func levels() throws -> [GlowLevel] {
    guard model.spec.condition == nil else { throw refuse("a flow that knows noise levels") }
    let layers = try model.spec.flattened()
    var levels: [GlowLevel] = []
    var k = 0
    func name(_ layer: LayerSpec) -> String {
      layer.kind.map { "a layer \(type(of: $0).name)" } ?? "a repetition"
    }
    while k < layers.count {
      guard layers[k] == .squeeze(.interleaved), levels.last.map({ $0.split != nil }) ?? true else {
        throw refuse("\(name(layers[k])) as layer \(k), where a level begins with a squeeze")
      }
      k += 1
      var level = GlowLevel()
      while k < layers.count {
        if layers[k] == .actnorm {
          guard k + 2 < layers.count,
            let form = MatrixForm.allCases.first(where: { layers[k + 1] == .conv1x1($0) }),
            let coupling = layers[k + 2].kind as? CouplingSpec
          else { throw refuse("layer \(k), an actnorm without a 1×1 convolution and a coupling behind it") }
          level.steps.append(
            .init(actnorm: k, mixing: k + 1, form: form, coupling: k + 2, spec: coupling))
          k += 3
        } else if let coupling = layers[k].kind as? CouplingSpec, coupling.net.kind == .linear {
          level.prior = (k, coupling)
          k += 1
          break
        } else if layers[k] == .split || layers[k] == .squeeze(.interleaved) {
          break
        } else {
          throw refuse("\(name(layers[k])) as layer \(k) of a level")
        }
      }
      guard !level.steps.isEmpty else { throw refuse("a level without steps") }
      if k < layers.count, layers[k] == .split {
        level.split = k
        k += 1
      }
      levels.append(level)
    }
    guard let last = levels.last, last.split == nil else {
      throw refuse("a flow that doesn't end in a level")
    }
    return levels
  }

  // MARK: Tensors

  func values(_ name: String) throws -> [Scalar] {
    guard let tensor = byName[name] else { throw FlowError.tensorMismatch(name: name, reason: "is missing") }
    let values: [Scalar] = tensor.scalars(as: Scalar.self)
    guard values.allSatisfy(\.isFinite) else {
      throw FlowError.unusableParameters(name: name, reason: "it holds a value that is not finite")
    }
    return values
  }

  func doubles(_ name: String) throws -> [Double] { try values(name).map { Double($0) } }

  func has(_ name: String) -> Bool { byName[name] != nil }

  mutating func add(_ name: String, _ shape: [Int], _ values: [Scalar]) {
    result.append(NamedTensor(name: name, shape: shape, scalars: values))
  }

  mutating func add(_ name: String, _ shape: [Int], _ values: [Double]) {
    add(name, shape, values.map { Scalar($0) })
  }

  mutating func addFlag(_ name: String, _ value: Scalar) { add(name, [], [value]) }

  mutating func addByte(_ name: String, _ value: UInt8) {
    result.append(NamedTensor(name: name, shape: [], values: .uint8([value])))
  }

  /// The permutation matrix with a one at (permutation[i], i).
  func matrix(ofPermutation name: String) throws -> [Scalar] {
    let permutation = try values(name)
    let c = permutation.count
    var matrix = [Scalar](repeating: 0, count: c * c)
    for (i, row) in permutation.enumerated() { matrix[Int(row) * c + i] = 1 }
    return matrix
  }

  /// The weights and bias of our k-th convolution as `[out, in, k, k]`, its outputs in another order and times factors.
  mutating func addConvolution(
    _ name: String, layer: Int, index: Int, outputs: [FlowMapping<Scalar>.Output]? = nil, bias: Bool = true
  ) throws {
    let source = "layers.\(layer).net.\(index)."
    guard let tensor = byName[source + "weight"], tensor.shape.count == 4 else {
      throw FlowError.tensorMismatch(name: source + "weight", reason: "is missing")
    }
    let (kernel, inputs, count) = (tensor.shape[0], tensor.shape[2], tensor.shape[3])
    let outputs = outputs ?? FlowMapping<Scalar>.outputs(count)
    let weight = try values(source + "weight")
    let taps = kernel * kernel
    var turned = [Scalar](repeating: 0, count: weight.count)
    for (o, output) in outputs.enumerated() {
      for input in 0..<inputs {
        for tap in 0..<taps {
          turned[(o * inputs + input) * taps + tap] =
            weight[(tap * inputs + input) * count + output.source] * Scalar(output.factor)
        }
      }
    }
    add(name + ".weight", [count, inputs, kernel, kernel], turned)
    let biases = try values(source + "bias")
    add(name + ".bias", [count], outputs.map { biases[$0.source] * Scalar($0.factor) })
  }

  /// Checks what both dialects' couplings have in common.
  func requireCommon(_ coupling: CouplingSpec, layer: Int) throws {
    guard coupling.mask == .firstHalf else {
      throw refuse("the mask \(coupling.mask.name) of layer \(layer), only first-half")
    }
    guard coupling.net.kind == .glow else {
      throw refuse("the \(coupling.net.kind.rawValue) net of layer \(layer), only glow")
    }
    guard coupling.net.activation == .relu else {
      throw refuse("the activation \(coupling.net.activation.rawValue) of layer \(layer), only relu")
    }
    guard case .affine(let affine) = coupling.transform else {
      throw refuse("the transform \(coupling.transform.name) of layer \(layer)")
    }
    guard affine == AffineTransform(affine.scale) else {
      throw refuse("a shift behind the scale or a biased scale as in layer \(layer)")
    }
    guard coupling.net.padding == 0 else {
      throw refuse("the padding \(coupling.net.padding) of layer \(layer)'s first convolution, only 0")
    }
  }

  /// Means and log-deviations of a level's latents, as many as our base holds: none, one a channel, or one a value.
  func base(_ split: Int?) throws -> (mean: [Double], logScale: [Double])? {
    guard [.learnedGaussian, .diagonalGaussian].contains(model.spec.base) else { return nil }
    let prefix = split.map { "layers.\($0)" } ?? "base"
    return (try doubles(prefix + ".bias").map { -$0 }, try doubles(prefix + ".log_scale").map { -$0 })
  }
}
