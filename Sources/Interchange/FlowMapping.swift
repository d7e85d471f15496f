import AIPOFlows
import AIPOKernels
import AIPOPlatform

/// A flow in our terms, put together layer by layer from another program's tensors.
struct FlowMapping<Scalar: KernelScalar> {
  let dict: StateDict
  private(set) var layers: [LayerSpec] = []
  private(set) var tensors: [NamedTensor] = []
  var base: FlowSpec.Base = .gaussian
  /// Channels of the images.
  var channels = 0
  /// The image's size, where the file tells it.
  var size: (height: Int, width: Int)?
  /// How many classes a class-conditional base has.
  var classes: Int?

  let choices: ImportChoices
  /// The settings that the flow depends on, as it has turned out.
  private(set) var used: Set<ImportOption> = []

  init(_ dict: StateDict, _ choices: ImportChoices) {
    self.dict = dict
    self.choices = choices
  }

  // MARK: Settings

  mutating func choice<Word: RawRepresentable<String>>(_ option: ImportOption, as _: Word.Type = Word.self)
    -> Word
  {
    used.insert(option)
    return Word(rawValue: choices[option])!
  }

  mutating func number(_ option: ImportOption) -> Double {
    used.insert(option)
    return choices.number(option)
  }

  /// Adds a layer, with tensors that are named as the layer names its parameters.
  mutating func add(_ layer: LayerSpec, _ parameters: [(name: String, shape: [Int], values: [Scalar])] = []) {
    for (name, shape, values) in parameters {
      tensors.append(NamedTensor(name: "layers.\(layers.count).\(name)", shape: shape, scalars: values))
    }
    layers.append(layer)
  }

  /// Mean and log-scale of a level's latents become a standardisation: of the split before, or of what is left.
  mutating func addBase(mean: [Double], logScale: [Double], atSplit layer: Int?) {
    let prefix = layer.map { "layers.\($0)" } ?? "base"
    tensors.append(
      NamedTensor(name: prefix + ".bias", shape: [mean.count], scalars: mean.map { Scalar(-$0) }))
    tensors.append(
      NamedTensor(name: prefix + ".log_scale", shape: [mean.count], scalars: logScale.map { Scalar(-$0) }))
  }

  var count: Int { layers.count }

  // MARK: Reading

  func take(_ name: String, _ shape: [Int]) throws(FileError) -> [Scalar] {
    try dict.take(name, shape, as: Scalar.self)
  }

  func doubles(_ name: String, _ shape: [Int]) throws(FileError) -> [Double] {
    try take(name, shape).map { Double($0) }
  }

  /// Takes the channels of the images from a tensor `[1, 4·channels, 1, 1]` of the first step behind the squeeze; `place`
  /// is where that step stands.
  mutating func takeChannels(of place: String, squeezedIn name: String) throws(FileError) {
    let squeezed = try shape(name, axes: 4)[1]
    guard squeezed % 4 == 0 else {
      throw dict.source.malformed("channels of \(place)", "\(squeezed)", "a multiple of 4")
    }
    channels = squeezed / 4
  }

  /// The shape of a tensor that must be there with so many axes, none of them empty or huge.
  func shape(_ name: String, axes: Int) throws(FileError) -> [Int] {
    guard let shape = dict.shape(name) else {
      throw dict.missing(name, "\(axes) axes")
    }
    guard shape.count == axes, shape.allSatisfy({ (1...8192).contains($0) }) else {
      throw dict.source.malformed(
        "shape of tensor \(name)", "\(shape.prefix(8))", "\(axes) axes of 1 to 8192")
    }
    return shape
  }

  // MARK: Layers

  /// `y = (x + b)·e^s` from a bias and a log-scale. The range of the pixels, where this is the first layer that sees
  /// them, is folded in: `(a·x + o + b)·e^s = (x + (o + b)/a)·e^(s + log a)`.
  mutating func addActnorm(bias: [Double], logScale: [Double], range: ImportChoices.PixelRange?) {
    let (factor, offset) = (range?.factor ?? 1, range?.offset ?? 0)
    let c = bias.count
    add(
      .actnorm,
      [
        ("bias", [c], bias.map { Scalar(($0 + offset) / factor) }),
        ("log_scale", [c], logScale.map { Scalar($0 + log(factor)) }),
        ("initialized", [1], [1]),
      ])
  }

  /// Throws for an actnorm that has seen no data: its first batch would overwrite what is in the file.
  func requireInitialized(_ flag: String) throws(FileError) {
    guard let shape = dict.shape(flag) else { return }
    guard try take(flag, shape).allSatisfy({ $0 != 0 }) else {
      throw dict.source.malformed(
        "flag \(flag)", "0 (the actnorm has seen no data: the model was saved before its first batch)",
        "a trained model; or pass the model one batch in its own program and save it again")
    }
  }

  /// A 1×1 convolution by its factors, `W = P(tril(L, −1) + I)(triu(U, 1) + diag(sign·e^s))·diag(columns)`; `columns` are
  /// signs.
  mutating func addPLU(
    p: String, l: String, u: String, logScale: String, sign: String, columns: [Double]? = nil
  ) throws(FileError) {
    let c = try shape(l, axes: 2)[0]
    let columns = columns ?? [Double](repeating: 1, count: c)
    let permutation = try permutation(p, size: c)
    let (lower, upper) = (try take(l, [c, c]), try take(u, [c, c]))
    var (below, above) = ([Scalar](repeating: 0, count: c * c), [Scalar](repeating: 0, count: c * c))
    for i in 0..<c {
      for j in 0..<i { below[i * c + j] = lower[i * c + j] }
      for j in i + 1..<max(c, i + 1) { above[i * c + j] = upper[i * c + j] * Scalar(columns[j]) }
    }
    let signs = try take(sign, [c])
    guard signs.allSatisfy({ abs($0) == 1 }) else {
      throw dict.source.malformed("tensor \(sign)", "not 1 or -1 everywhere", "signs")
    }
    add(
      .conv1x1(.plu),
      [
        ("lower", [c, c], below), ("upper", [c, c], above), ("log_scale", [c], try take(logScale, [c])),
        ("permutation", [c], permutation.map { Scalar($0) }),
        ("sign", [c], zip(signs, columns).map { $0 * Scalar($1) }),
      ])
  }

  /// Row i of what P is applied to becomes row `permutation[i]`.
  private func permutation(_ name: String, size c: Int) throws(FileError) -> [Int] {
    let matrix = try take(name, [c, c])
    var result = [Int](repeating: -1, count: c)
    var rows: Set<Int> = []
    for row in 0..<c {
      for column in 0..<c where matrix[row * c + column] != 0 {
        guard matrix[row * c + column] == 1, result[column] < 0, rows.insert(row).inserted else {
          throw dict.source.malformed(
            "tensor \(name)", "no permutation at row \(row)", "a permutation matrix")
        }
        result[column] = row
      }
    }
    guard rows.count == c else {
      throw dict.source.malformed(
        "tensor \(name)", "of rank \(rows.count)", "a permutation matrix of rank \(c)")
    }
    return result
  }

  /// A 1×1 convolution by its matrix, of shape `[c, c]` or `[c, c, 1, 1]`.
  mutating func addDense(_ name: String, shape: [Int], columns: [Double]? = nil) throws(FileError) {
    let c = shape[0]
    var matrix = try take(name, shape)
    if let columns {
      for k in matrix.indices { matrix[k] *= Scalar(columns[k % c]) }
    }
    add(.conv1x1(.dense), [("weight", [c, c], matrix)])
  }

  // MARK: Convolutions

  /// An output of a net's last convolution: which of the file's it is, and what it is multiplied by.
  struct Output {
    var source: Int
    var factor: Double
  }

  /// A convolution of the file, `[out, in, k, k]`, as ours, `[k, k, in, out]`: with its outputs in another order and
  /// multiplied by factors, as what follows linearly is folded in.
  func convolution(
    _ name: String, kernel: Int, inputs: Int, outputs: [Output], of count: Int
  ) throws(FileError) -> [Scalar] {
    let weight = try take(name, [count, inputs, kernel, kernel])
    let taps = kernel * kernel
    return [Scalar](unsafeUninitializedCapacity: taps * inputs * outputs.count) { result, initialized in
      weight.withUnsafeBufferPointer { weight in
        // Blocks of outputs, so that what is written together lies in one line of the cache.
        for first in stride(from: 0, to: outputs.count, by: 16) {
          let block = first..<min(first + 16, outputs.count)
          for input in 0..<inputs {
            for tap in 0..<taps {
              let target = (tap * inputs + input) * outputs.count
              for o in block {
                let value = weight[(outputs[o].source * inputs + input) * taps + tap]
                result[target + o] =
                  outputs[o].factor == 1 ? value : Scalar(Double(value) * outputs[o].factor)
              }
            }
          }
        }
      }
      initialized = taps * inputs * outputs.count
    }
  }

  /// All outputs as they are, times a factor each.
  static func outputs(_ count: Int, factors: [Double]? = nil) -> [Output] {
    (0..<count).map { Output(source: $0, factor: factors?[$0] ?? 1) }
  }
}
