import AIPOFlows
import AIPOImaging
import AIPOInterchange
import AIPOKernels
import AIPOProblems

/// The noise model of a task, of every image of it.
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

  /// With the noise's defaults filled in.
  let task: ReconstructionTask
  /// Checksum of a flow that is the noise model.
  let checksum: String?
  /// Whether a measurement is a whole picture, which tells its noise.
  private let showsPixels: Bool
  private let source: Source

  /// Reads and checks what the task names.
  /// - Parameters:
  ///   - measurements: m of the default σ for sense.
  ///   - values: of the noise before a mask hides some: the pixels of an image, or m.
  ///   - count: images of the source.
  ///   - showsPixels: whether a measurement is a whole picture.
  init(
    _ task: ReconstructionTask, measurements: Int, values: Int, count: Int, showsPixels: Bool, threads: Int
  ) throws {
    let task = task.resolved(measurements: measurements)
    self.task = task
    self.showsPixels = showsPixels
    var checksum: String?
    let sigma =
      if case .number(let sigma) = task.sigma { sigma } else { task.usualSigma(measurements: measurements) }
    switch task.noise {
    case .gaussian:
      if task.quantize != nil || task.saturate != nil {
        let range = task.saturate.map { $0.low...$0.high } ?? 0...1
        source = .shared(
          try IntervalNoise(sigma: sigma, bits: task.quantize, range: range))
      } else if let path = task.noiseCovariance {
        source = .shared(try Self.covariance(path, values: values))
      } else if case .file(let path) = task.sigma {
        let rows = try Self.deviations(path, values: values, count: count)
        source = rows.count == 1 ? .shared(rows[0]) : .rows(rows)
      } else if task.sigma?.isEstimated == true {
        source = .estimated(try GaussianNoise(sigma: sigma))
      } else {
        source = .shared(try GaussianNoise(sigma: sigma))
      }
    case .laplace: source = .shared(try LaplaceNoise(sigma: sigma, tip: task.tip ?? 0))
    case .student: source = .shared(try StudentNoise(sigma: sigma, degreesOfFreedom: task.nu ?? 0))
    case .poisson: source = .shared(try PoissonNoise(peak: task.peak ?? 0, sigma: sigma))
    case .outliers:
      let share = task.outliers ?? 0
      source =
        task.kind == .sense
        ? .spread(sigma: sigma, share: share) : .shared(try OutlierNoise(sigma: sigma, share: share))
    case .flow(let path):
      let (model, file) = try ModelSource.load(path)
      checksum = file.checksum
      guard model.imageShape.count == values else {
        throw TaskError(
          .data,
          "\(path): the noise model's images are \(model.imageShape), expected \(values) values as measured")
      }
      source = .shared(
        task.precision == .float64
          ? try FlowNoise(model, precision: Double.self, threads: threads)
          : try FlowNoise(model, precision: Float.self, threads: threads))
    }
    self.checksum = checksum
  }

  /// The law of a map's measurements; nil where it differs from image to image.
  func known(_ map: any Map) throws -> (any NoiseModel)? {
    guard case .shared(let noise) = source else { return nil }
    return try (map as? MaskMap).map { try noise.restricted(to: $0.observed) } ?? noise
  }

  /// Whether one model serves all images.
  private var isShared: Bool { if case .shared = source { true } else { false } }

  /// The noise that an image's noiseless measurements get.
  private func simulated(_ clean: Vector, index: Int) throws -> any NoiseModel {
    switch source {
    case .shared(let noise): return noise
    case .rows(let rows): return rows[index]
    case .estimated(let noise): return noise
    case .spread: return try spread(clean)
    }
  }

  private func spread(_ y: Vector) throws -> any NoiseModel {
    guard case .spread(let sigma, let share) = source, y.count > 0 else {
      preconditionFailure("sense has measurements")
    }
    let least = (0..<y.count).reduce(y[0]) { min($0, y[$1]) }
    let greatest = (0..<y.count).reduce(y[0]) { max($0, y[$1]) }
    // Equal measurements have no outliers, but need some range.
    let range = least < greatest ? least...greatest : least...(least + max(least.magnitude, 1))
    return try OutlierNoise(sigma: sigma, share: share, range: range)
  }

  /// The measurements of a true image. Behind a mask every pixel's noise is drawn, so that it changes nothing at the
  /// others.
  func simulate(_ x: Vector, _ map: any Map, index: Int, seed: UInt64, _ scratch: Scratch) throws
    -> Tensor<Double>
  {
    var random = Philox(seed: seed, index: UInt64(index), purpose: .noise)
    var y = try Tensor<Double>(count: map.output.count)
    try y.withMemory { y in
      if map is MaskMap {
        try scratch.scope {
          let noisy = try scratch.take(x.count)
          try simulated(x, index: index).sample(prediction: x, into: noisy, random: &random, scratch)
          try map.apply(noisy, into: y, scratch)
        }
      } else {
        try map.apply(x, into: y, scratch)
        try simulated(y, index: index).sample(prediction: y, into: y, random: &random, scratch)
      }
    }
    return y
  }

  /// The noise models of observations: one for all, or one an image.
  func models(_ rows: [Tensor<Double>], maps: [any Map], indices: [Int], _ scratch: Scratch) throws
    -> [any NoiseModel]
  {
    /// The law of what a mask leaves.
    func seen(_ noise: any NoiseModel, _ map: any Map) throws -> any NoiseModel {
      guard let mask = map as? MaskMap else { return noise }
      return try noise.restricted(to: mask.observed)
    }
    if case .shared(let noise) = source, maps.count == 1 { return [try seen(noise, maps[0])] }
    return try rows.indices.map { k in
      let map = maps[maps.count == 1 ? 0 : k]
      switch source {
      case .shared(let noise): return try seen(noise, map)
      case .rows(let all): return try seen(all[indices[k]], map)
      case .estimated(let noise):
        guard showsPixels else { return noise }
        return try GaussianNoise(sigma: try NoiseEstimate.sigma(rows[k].view, shape: map.output, scratch))
      case .spread: return try spread(rows[k].view)
      }
    }
  }

  // MARK: What is told

  /// For a heading: `, σ = 0.1`.
  var words: String {
    switch task.noise {
    case .gaussian: if case .number(let sigma) = task.sigma { ", σ = \(short(sigma))" } else { "" }
    case .laplace: ", Laplace noise"
    case .student: ", Student noise"
    case .poisson: ", Poisson noise, peak \(short(task.peak ?? 0))"
    case .outliers: ", \(short(100 * (task.outliers ?? 0))) % outliers"
    case .flow: ", a flow as noise model"
    }
  }

  // MARK: Reading

  /// One row of deviations, or one an image.
  private static func deviations(_ path: String, values: Int, count: Int) throws -> [GaussianNoise] {
    let array = try ArrayFile.read(path, as: Double.self)
    guard array.count == values || array.count == count * values && array.shape.first == count else {
      throw TaskError(
        .data,
        "\(path): the deviations have shape \(array.shape), expected \(values) values, or \(count) times these"
      )
    }
    let all = array.elements
    if let bad = all.firstIndex(where: { !(1e-150...1e150).contains($0) }) {
      throw TaskError(
        .data, "\(path): deviation \(bad) is \(all[bad]), expected a number from 1e-150 to 1e150")
    }
    return try stride(from: 0, to: all.count, by: values).map {
      try GaussianNoise(sigmas: Array(all[$0..<($0 + values)]))
    }
  }

  private static func covariance(_ path: String, values: Int) throws -> GaussianNoise {
    let array = try ArrayFile.read(path, as: Double.self)
    guard array.shape == [values, values] else {
      throw TaskError(
        .data, "\(path): the covariance has shape \(array.shape), expected [\(values), \(values)]")
    }
    let all = array.elements
    for i in 0..<values {
      for j in 0..<i
      where (all[i * values + j] - all[j * values + i]).magnitude
        > 1e-6 * (all[i * values + i] * all[j * values + j]).magnitude.squareRoot()
      {
        throw TaskError(
          .data,
          "\(path): the covariance isn't symmetric: \(all[i * values + j]) at [\(i), \(j)] and "
            + "\(all[j * values + i]) at [\(j), \(i)]")
      }
    }
    do {
      return try GaussianNoise(covariance: try Matrix(rows: values, columns: values, rowMajor: all))
    } catch {
      throw TaskError(.data, "\(path): the covariance is unusable: \(error)")
    }
  }
}
