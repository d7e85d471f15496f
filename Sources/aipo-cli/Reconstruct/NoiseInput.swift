import AIPO
import AIPOImaging

/// The noise model that the flags say, of every image of a run.
struct NoiseInput {
  private enum Source {
    /// One for all images.
    case shared(any NoiseModel)
    /// Gaussian, a row of deviations an image of the source.
    case rows([GaussianNoise])
    /// Gaussian of a deviation estimated from each observation; what is simulated has this one. A whole picture
    /// tells it by itself; from anything else it is estimated with the model.
    case estimated(GaussianNoise)
    /// Outliers between the least and the greatest measurement of each image.
    case spread(sigma: Double, share: Double)
  }

  let options: NoiseOptions
  /// Checksum of a flow that is the noise model.
  let checksum: String?
  private let shape: ImageShape
  private let isPicture: Bool
  private let source: Source

  /// Reads and checks what the flags name.
  /// - Parameters:
  ///   - task: decides the default σ.
  ///   - measurements: m of the default σ for sense.
  ///   - values: of the noise before a mask hides some: the pixels of an image, or m.
  ///   - count: images of the source.
  init(
    _ options: NoiseOptions, task: TaskName, shape: ImageShape, measurements: Int, values: Int, count: Int,
    common: CommonOptions
  ) throws {
    self.options = options
    self.shape = shape
    isPicture = task == .denoise
    var checksum: String?
    let sigma = Self.sigma(options, task: task, measurements: measurements)
    switch options.noise {
    case .gaussian:
      if let path = options.noiseCovariance {
        source = .shared(try Self.covariance(path, values: values))
      } else if case .file(let path) = options.sigma {
        let rows = try Self.deviations(path, values: values, count: count)
        source = rows.count == 1 ? .shared(rows[0]) : .rows(rows)
      } else if options.sigma == .one(.auto) {
        source = .estimated(try GaussianNoise(sigma: sigma))
      } else {
        source = .shared(try GaussianNoise(sigma: sigma))
      }
    case .laplace:
      source = .shared(try LaplaceNoise(sigma: sigma, tip: options.tip ?? NoiseOptions.defaults.tip))
    case .student:
      source = .shared(
        try StudentNoise(sigma: sigma, degreesOfFreedom: options.nu ?? NoiseOptions.defaults.nu))
    case .poisson:
      source = .shared(
        try PoissonNoise(
          peak: options.peak ?? NoiseOptions.defaults.peak, sigma: options.sigma == nil ? 0 : sigma))
    case .outliers:
      let share = options.outliers ?? NoiseOptions.defaults.outliers
      source =
        task == .sense
        ? .spread(sigma: sigma, share: share) : .shared(try OutlierNoise(sigma: sigma, share: share))
    case .flow(let path):
      let (model, file) = try ModelSource.load(path)
      checksum = file.checksum
      guard model.imageShape.count == values else {
        throw CommandFailure(
          .badData,
          "\(path): the noise model's images are \(model.imageShape), expected \(values) values as measured")
      }
      source = .shared(
        common.precision == .float64
          ? try FlowNoise<Double>(model, threads: common.threadCount)
          : try FlowNoise<Float>(model, threads: common.threadCount))
    }
    self.checksum = checksum
  }

  /// Whether one model serves all images.
  private var isShared: Bool { if case .shared = source { true } else { false } }

  /// The noise that an image's noiseless measurements get.
  private func simulated(_ clean: [Double], index: Int) throws -> any NoiseModel {
    switch source {
    case .shared(let noise): return noise
    case .rows(let rows): return rows[index]
    case .estimated(let noise): return noise
    case .spread: return try spread(clean)
    }
  }

  private func spread(_ y: [Double]) throws -> any NoiseModel {
    guard case .spread(let sigma, let share) = source, let least = y.min(), let greatest = y.max() else {
      preconditionFailure("sense has measurements")
    }
    // Equal measurements have no outliers, but need some range.
    let range = least < greatest ? least...greatest : least...(least + max(least.magnitude, 1))
    return try OutlierNoise(sigma: sigma, share: share, range: range)
  }

  /// The measurements of a true image. Where pixels are observed every pixel's noise is drawn, so that a mask
  /// changes nothing at the others.
  func simulate(_ x: [Double], _ linear: any LinearOperator, index: Int, seed: UInt64) throws -> [Double] {
    var random = Philox(seed: seed, index: UInt64(index), purpose: .noise)
    if case .selection = linear.form {
      return linear.apply(try simulated(x, index: index).sample(prediction: x, random: &random))
    }
    let clean = linear.apply(x)
    return try simulated(clean, index: index).sample(prediction: clean, random: &random)
  }

  /// The noise models of observations: one for all, or one an image.
  func models(_ rows: [[Double]], operators: [any LinearOperator], indices: [Int]) throws
    -> [any NoiseModel]
  {
    /// The law of what a mask leaves.
    func seen(_ noise: any NoiseModel, _ linear: any LinearOperator) throws -> any NoiseModel {
      guard let mask = linear as? MaskOperator else { return noise }
      return try noise.restricted(to: mask.observed)
    }
    if case .shared(let noise) = source, operators.count == 1 { return [try seen(noise, operators[0])] }
    return try rows.indices.map { k in
      let linear = operators[operators.count == 1 ? 0 : k]
      switch source {
      case .shared(let noise): return try seen(noise, linear)
      case .rows(let all): return try seen(all[indices[k]], linear)
      case .estimated(let noise):
        return isPicture ? try GaussianNoise(sigma: try NoiseEstimate.sigma(rows[k], shape: shape)) : noise
      case .spread: return try spread(rows[k])
      }
    }
  }

  // MARK: What is told

  /// For the JSON and the report.
  var settings: [(String, JSONValue)] {
    var members: [(String, JSONValue)] = []
    switch (options.sigma, source) {
    case (.one(.auto), _): members.append(("sigma", .string("auto")))
    case (.file(let path), _): members.append(("sigma", .string(path)))
    case (_, .spread(let sigma, _)): members.append(("sigma", .number(sigma)))
    case (_, .shared(let noise)):
      if let sigma = Self.sigma(of: noise) { members.append(("sigma", .number(sigma))) }
    default: break
    }
    members.append(("noise", .string(options.noise.description)))
    if let path = options.noiseCovariance { members.append(("noiseCovariance", .string(path))) }
    switch options.noise {
    case .student: members.append(("nu", .number(options.nu ?? NoiseOptions.defaults.nu)))
    case .poisson:
      members.append(("peak", .number(options.peak ?? NoiseOptions.defaults.peak)))
      if options.counts { members.append(("counts", .bool(true))) }
    case .outliers: members.append(("outliers", .number(options.outliers ?? NoiseOptions.defaults.outliers)))
    case .flow: members.append(("noiseChecksum", .string(checksum ?? "")))
    case .laplace: members.append(("tip", .number(options.tip ?? NoiseOptions.defaults.tip)))
    case .gaussian: break
    }
    return members
  }

  /// For a heading: `, σ = 0.1`.
  var words: String {
    switch (options.noise, source) {
    case (.gaussian, .shared(let noise)) where options.noiseCovariance == nil:
      if case .file = options.sigma { return "" }
      return Self.sigma(of: noise).map { ", σ = \(short($0))" } ?? ""
    case (.gaussian, _): return ""
    case (.laplace, _): return ", Laplace noise"
    case (.student, _): return ", Student noise"
    case (.poisson, _): return ", Poisson noise, peak \(short(options.peak ?? NoiseOptions.defaults.peak))"
    case (.outliers, _):
      return ", \(short(100 * (options.outliers ?? NoiseOptions.defaults.outliers))) % outliers"
    case (.flow, _): return ", a flow as noise model"
    }
  }

  private static func sigma(of noise: any NoiseModel) -> Double? {
    switch noise {
    case let noise as GaussianNoise: noise.isWhiteGaussian ? noise.sigma : nil
    case let noise as LaplaceNoise: noise.sigma
    case let noise as StudentNoise: noise.sigma
    case let noise as OutlierNoise: noise.sigma
    case let noise as PoissonNoise: noise.sigma
    default: nil
    }
  }

  // MARK: Reading

  private static func sigma(_ options: NoiseOptions, task: TaskName, measurements: Int) -> Double {
    if case .one(.number(let sigma)) = options.sigma { return sigma }
    return switch task {
    case .denoise: 0.1
    case .inpaint: 0.01
    case .sense: 0.1 / Double(measurements).squareRoot()
    }
  }

  /// One row of deviations, or one an image.
  private static func deviations(_ path: String, values: Int, count: Int) throws -> [GaussianNoise] {
    let array = try ArrayFile.read(path, as: Double.self)
    guard array.count == values || array.count == count * values && array.shape.first == count else {
      throw CommandFailure(
        .badData,
        "\(path): the deviations have shape \(array.shape), expected \(values) values, or \(count) times these"
      )
    }
    let all = array.elements
    if let bad = all.firstIndex(where: { !(1e-150...1e150).contains($0) }) {
      throw CommandFailure(
        .badData, "\(path): deviation \(bad) is \(all[bad]), expected a number from 1e-150 to 1e150")
    }
    return try stride(from: 0, to: all.count, by: values).map {
      try GaussianNoise(sigmas: Array(all[$0..<($0 + values)]))
    }
  }

  private static func covariance(_ path: String, values: Int) throws -> GaussianNoise {
    let array = try ArrayFile.read(path, as: Double.self)
    guard array.shape == [values, values] else {
      throw CommandFailure(
        .badData, "\(path): the covariance has shape \(array.shape), expected [\(values), \(values)]")
    }
    let all = array.elements
    for i in 0..<values {
      for j in 0..<i
      where (all[i * values + j] - all[j * values + i]).magnitude
        > 1e-6 * (all[i * values + i] * all[j * values + j]).magnitude.squareRoot()
      {
        throw CommandFailure(
          .badData,
          "\(path): the covariance isn't symmetric: \(all[i * values + j]) at [\(i), \(j)] and "
            + "\(all[j * values + i]) at [\(j), \(i)]")
      }
    }
    do {
      return try GaussianNoise(covariance: try Matrix(rows: values, columns: values, rowMajor: all))
    } catch {
      throw CommandFailure(.badData, "\(path): the covariance is unusable: \(error)")
    }
  }
}

/// A number in as few digits as a heading needs.
func short(_ value: Double) -> String {
  let text = fixed(value, 4)
  guard text.contains(".") else { return text }
  let digits = text.reversed().drop { $0 == "0" }.reversed()
  return String(digits.last == "." ? digits.dropLast() : digits[...])
}
