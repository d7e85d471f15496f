import AIPOFlows
import AIPOImaging
import AIPOInterchange
import AIPOKernels
import AIPOProblems
import AIPOSolvers

/// What is to be reconstructed: observations with their operator, read or simulated a chunk at a time.
package struct ReconstructionInput {
  /// Some images as the solver takes them.
  package struct Chunk {
    /// Place of the first image in the run.
    package var offset: Int
    package var names: [String]
    /// Places of the images in their source; everything random is keyed by them.
    package var indices: [Int]
    var problem: InverseProblem
    /// Deviation of the noise that the problem supposes, root mean square over an image's measurements.
    var sigmas: [Double]
    /// Evaluations of the flow that each of them took; 0 where they were known or told by the pixels alone.
    var sigmaEvaluations: [Int]
    /// λ of the greatest evidence of its only image; nil where λ isn't found so.
    var lambda: Double?
    /// `[n, h, w, c]`, where it is known.
    package var truth: Tensor<Double>?
    /// The observation as an image: itself where it is a picture of the image's shape, what a direct formula makes of it where
    /// there is one (`Map.estimate`), else `A⁺y`, hidden pixels 0.
    package var observed: Tensor<Double>
    /// Observed values, where the operator hides some.
    package var masks: [[Bool]]?
    /// `[h, w, c]` of an observation that is a picture, hidden pixels included, else `[m]`.
    var measuredShape: [Int]
    /// What looks like a mistake about these images.
    var advices: [Advice]
    /// Where ranks share its only image: arrays are this one's rows.
    var strips: Strips?
  }

  /// With all that is known by its measurements.
  let task: ReconstructionTask
  let shape: ImageShape
  /// What simulated noise is drawn from, and what is known about an observation's.
  let noise: NoiseInput
  /// m, or nil where it differs from image to image.
  let measurements: Int?
  /// The shape of one observation as it is read and written.
  let rowShape: [Int]
  /// Whether a measurement is a whole picture, which tells its noise.
  let showsPixels: Bool
  /// The share of all values that a mask hides; nil where there is no mask.
  private(set) var hiddenShare: Double?
  /// What looks like a mistake about the images as a whole.
  private(set) var advices: [Advice] = []

  let source: Source
  /// Whether ranks have some rows each of every image.
  let isShared: Bool
  let measurement: TaskOperator
  private let model: Model

  enum Source {
    /// Images that are taken as truth.
    case simulated(ModelImages)
    /// Observed images, and the true ones if known.
    case images(ModelImages, truth: ModelImages?)
    /// Rows of measurements.
    case rows(Tensor<Double>, name: String, indices: [Int], truth: ModelImages?)
  }

  private enum Model {
    /// One for all images; nil where they are shared, as each rank makes that of its strip.
    case fixed((any Map)?)
    case pattern(MaskPattern)
    case mask(MaskImages)
  }

  /// Opens and checks everything that the task names. Throws before any work is done.
  /// `images` takes the place of the file that the task observes or simulates; `ranks` are those that share them where that
  /// can be.
  init(
    _ task: ReconstructionTask, model prior: ReconstructionModel, images: ImageSet? = nil, threads: Int,
    ranks: any Ranks = OneRank()
  ) throws {
    let measurement = try TaskOperator(task)
    self.measurement = measurement
    let opened = try Self.open(task, measurement, prior, images)
    var shape = prior.model.imageShape
    if let size = task.size {
      shape = ImageShape(height: size.height, width: size.width, channels: shape.channels)
      guard prior.accepts(shape) else {
        throw TaskError(
          .data, "--size is \(size), and the model takes images of \(prior.model.imageShape) alone")
      }
    }
    if let opened {
      shape = task.simulate != nil ? opened.shape : measurement.image(measuredAs: opened.shape)
    }
    // Of several sizes that are measured alike it's the truth's.
    let truth = try Self.truth(task, shape: shape) {
      prior.accepts($0)
        && (opened == nil ? task.size == nil : measurement.measured($0) == measurement.measured(shape))
    }
    shape = truth?.shape ?? shape
    self.shape = shape
    isShared = Self.isShared(task, opened, truth, measurement, of: shape, prior, ranks)
    let map = isShared ? nil : try measurement.map(shape)
    let output = map?.output ?? measurement.measured(shape)
    source = try Self.source(task, opened, truth, measured: output) { array in
      try map.map { try measurement.measured(array, by: $0) } ?? array
    }
    model =
      switch task.mask {
      case .pattern(let pattern): .pattern(pattern)
      case .file(let path):
        .mask(
          try MaskImages(
            path: path, shape: shape, stored: Self.storedShape(source), transform: task.reading.transform,
            count: Self.sourceCount(source), threshold: task.maskThreshold,
            readArray: { try ArrayFile.read($0) }))
      case nil: .fixed(map)
      }
    switch model {
    case .fixed:
      measurements = output.count
      rowShape =
        measurement.isPicture || !output.isVector
        ? [output.height, output.width, output.channels] : [output.count]
    case .pattern(let pattern):
      // Says at once where a region reaches beyond the image.
      let observed = try pattern.observed(shape, seed: task.seed, index: 0)
      measurements = pattern.isShared ? observed.count { $0 } : nil
      rowShape = [shape.height, shape.width, shape.channels]
    case .mask(let mask):
      measurements = mask.isShared ? mask.observed(index: 0).count { $0 } : nil
      rowShape = [shape.height, shape.width, shape.channels]
    }
    showsPixels = measurement.showsPixels && task.kind != .inpaint
    noise = try NoiseInput(
      task, measurements: measurements ?? shape.count, values: output.count,
      count: Self.sourceCount(source), showsPixels: showsPixels, threads: threads)
    var known = noise.task
    if task.kind != .denoise { known.measurements = measurements }
    self.task = known
    if isEstimated, task.kind == .sense, output.count < shape.count {
      throw TaskError(
        .usage, key: "sigma",
        "--sigma \(task.sigma!) with \(output.count) measurements of \(shape.count) pixels: so few can't tell noise from "
          + "image; give a number")
    }
    if task.noise == .poisson, let weight = measurement.negativeWeight {
      throw TaskError(
        .data,
        "\(measurement.path.map { "\($0): " } ?? "")the operator holds \(weight), expected no negative value for --noise "
          + "poisson")
    }
    hiddenShare = shareOfHidden
    let sizeAdvice = prior.advice(for: shape, isMeasured: task.simulate == nil)
    advices =
      try readingAdvices() + measurement.advices + [sizeAdvice].compactMap(\.self) + maskAdvices
      + resizeAdvices
  }

  /// The share of values that the masks hide, each made in turn; nil where there is none.
  private var shareOfHidden: Double? {
    var (hidden, values) = (0, 0)
    for index in identities(0..<(hasOneMask ? min(count, 1) : count)).indices {
      for mask in masks([index]) ?? [] {
        hidden += mask.count { !$0 }
        values += mask.count
      }
    }
    return values == 0 ? nil : Double(hidden) / Double(values)
  }

  /// Whether what is observed is the same of all images.
  private var hasOneMask: Bool {
    switch model {
    case .fixed: true
    case .pattern(let pattern): pattern.isShared
    case .mask(let mask): mask.isShared
    }
  }

  /// Of what images were read from.
  private func readingAdvices() throws -> [Advice] {
    switch source {
    case .simulated(let images): return try images.advice()
    case .images(let images, let truth):
      // Floats are looked at with their noise, see `chunk`.
      let own = images.images.isEightBit && !task.counts ? try images.advice() : images.images.advice
      return own + (truth?.images.advice ?? [])
    case .rows(_, _, _, let truth): return truth?.images.advice ?? []
    }
  }

  private var maskAdvices: [Advice] {
    guard let choice = task.mask else { return [] }
    switch hiddenShare {
    case 0: return [Advice("mask", of: choice.description, "the mask hides nothing: this is --task denoise")]
    case 1:
      return [
        Advice(
          "mask", of: choice.description,
          "the mask hides everything, so the result is what the prior alone makes most probable; zero is what hides "
            + "a pixel")
      ]
    default: return []
    }
  }

  /// Of observations that were measured at another size.
  private var resizeAdvices: [Advice] {
    guard case .images(let images, _) = source, let size = task.reading.transform.resize else { return [] }
    let crop = ImageTransform(crop: task.reading.transform.crop)
    guard
      let index = images.indices.first(where: { index in
        let shape = crop.shape(of: images.images.shape(of: index))
        return shape?.height != size.height || shape?.width != size.width
      })
    else { return [] }
    let name = images.images.name(of: index)
    var advices: [Advice] = []
    if !isEstimated {
      advices.append(
        Advice(
          "resize", of: name,
          "the observation was resized from \(images.images.shape(of: index)), which averages its noise away: the "
            + "noise is no longer what it is said to be; --crop keeps it, --sigma auto estimates what is left"
        ))
    }
    if case .mask(let mask) = model, !mask.followsImages {
      advices.append(
        Advice(
          "resizedMask", of: name,
          "resizing mixed hidden pixels into observed ones, as the mask has the final size: a mask of the "
            + "observation's own size is resized with it"))
    }
    return advices
  }

  /// Whether σ is estimated from each image.
  var isEstimated: Bool { task.sigma?.isEstimated == true }

  /// Images that a chunk may hold: an estimated σ is each image's own.
  var chunkLimit: Int { isEstimated || task.lambda == .evidence ? 1 : 32 }

  /// Where the results are in space, if the file says: where the observed pixels are, or parts of them.
  var geometry: ImageGeometry? {
    guard case .simulated(let images) = source else {
      guard case .images(let images, _) = source, let geometry = images.geometry else { return nil }
      let (observed, result) = (images.shape, shape)
      let factor = result.height / max(observed.height, 1)
      guard factor * observed.height == result.height, factor * observed.width == result.width else {
        return nil
      }
      return geometry.resized(from: observed, to: result)
    }
    return images.geometry
  }

  /// Images to reconstruct.
  var count: Int {
    switch source {
    case .simulated(let images), .images(let images, _): images.count
    case .rows(_, _, let indices, _): indices.count
    }
  }

  /// The images at these places of the run.
  func chunk(_ range: Range<Int>) throws -> Chunk {
    let (names, indices) = identities(range)
    let maps = try maps(indices)
    let scratch = Scratch()
    func map(_ k: Int) -> any Map { maps[maps.count == 1 ? 0 : k] }
    var truth: Tensor<Double>?
    var rows: [Tensor<Double>] = []
    switch source {
    case .simulated(let images):
      let clean: Tensor<Double> = try images.read(range)
      for (k, index) in indices.enumerated() {
        rows.append(try noise.simulate(clean.row(k), map(k), index: index, seed: task.seed, scratch))
      }
      truth = clean
    case .images(let images, let known):
      let isMasked = task.kind == .inpaint
      let observed: Tensor<Double> = try images.read(range, nonFinite: isMasked ? .allowed : .refused)
      for k in indices.indices {
        var row = try Tensor<Double>(count: map(k).output.count)
        if observed.rowLength == row.count, !isMasked {
          row.withMemory { $0.set(observed.row(k)) }
        } else {
          // Behind a mask anything may be, and a picture in colour may be of a colour filter array.
          try row.withMemory { try map(k).apply(observed.row(k), into: $0, scratch) }
        }
        rows.append(row)
      }
      truth = try known?.read(range)
    case .rows(let all, _, _, let known):
      for i in indices {
        var row = try all.row(i).tensor(shape: [all.rowLength])
        row.withMemory { $0.setEach { $0 / task.countScale } }
        rows.append(row)
      }
      truth = try known?.read(range)
    }
    try Self.requireFinite(rows, names)
    let noises = try noise.models(rows, maps: maps, indices: indices, scratch)
    for (k, row) in rows.enumerated() {
      do { try noises[noises.count == 1 ? 0 : k].check(row.view) } catch {
        throw TaskError(.data, "\(names[k]): \(error)")
      }
    }
    let problem = try InverseProblem(maps: maps, noises: noises, observations: rows, imageShape: shape)
    var advices: [Advice] = []
    var observed = try Tensor<Double>(shape: [rows.count, shape.height, shape.width, shape.channels])
    var sigmas: [Double] = []
    for k in rows.indices {
      let known = try isSimulated ? nil : truth.map { try $0.row(k).tensor(shape: [shape.count]) }
      advices += try problem.advices(
        ofObservation: k, name: names[k], isEstimated: isEstimated, truth: known, scratch)
      if let known { advices += darkTruthAdvice(known, names[k], scratch) }
      let matched = try problem.noise(k).matched(rows[k].view)
      sigmas.append(matched.sigma)
      try observed.withMemory { all in
        let own = all[k * shape.count..<(k + 1) * shape.count]
        try setPicture(
          own, of: rows[k].view, map(k), isPicture: map(k).output == shape, matched, scratch)
      }
    }
    return Chunk(
      offset: range.lowerBound, names: names, indices: indices, problem: problem, sigmas: sigmas,
      sigmaEvaluations: rows.map { _ in 0 }, truth: truth, observed: observed, masks: masks(indices),
      measuredShape: rowShape, advices: advices)
  }

  /// What an observation looks like as an image.
  func setPicture(
    _ x: Vector, of y: Vector, _ map: any Map, isPicture: Bool, _ noise: GaussianNoise, _ scratch: Scratch
  ) throws {
    if try map.estimate(y, into: x, scratch) { return }
    if isPicture {
      x.set(y)
    } else if let map = map as? any LinearMap {
      try map.leastSquares(y, noise: noise, into: x, scratch)
    } else {
      x.set(0)
    }
  }

  /// Of a truth that --range makes nearly black, since it was on [0, 1] before.
  func darkTruthAdvice(_ truth: Tensor<Double>, _ name: String, _ scratch: Scratch) -> [Advice] {
    guard let range = task.reading.transform.range, truth.view.extent(scratch.pool).greatest < 0.02 else {
      return []
    }
    return [
      Advice(
        "darkTruth", of: name,
        "--range \(range) makes the truth nearly black: it is of the observation and the truth, which must be on one scale"
      )
    ]
  }

  private var isSimulated: Bool { if case .simulated = source { true } else { false } }

  private static func requireFinite(_ rows: [Tensor<Double>], _ names: [String]) throws(TaskError) {
    for (name, row) in zip(names, rows) {
      guard let place = row.withUnsafeBufferPointer({ $0.firstIndex { !$0.isFinite } }) else { continue }
      throw TaskError(
        .data, "\(name): observed value \(place) is \(row[flat: place]), expected a finite number")
    }
  }

  func identities(_ range: Range<Int>) -> (names: [String], indices: [Int]) {
    switch source {
    case .simulated(let images), .images(let images, _):
      let indices = Array(images.indices[range])
      return (indices.map { images.images.name(of: $0) }, indices)
    case .rows(let all, let name, let indices, _):
      let chosen = Array(indices[range])
      return (all.shape[0] == 1 ? [name] : chosen.map { "\(name)#\($0)" }, chosen)
    }
  }

  func masks(_ indices: [Int]) -> [[Bool]]? {
    switch model {
    case .fixed: nil
    case .mask(let mask): indices.map { mask.observed(index: $0) }
    case .pattern(let pattern):
      indices.compactMap { try? pattern.observed(shape, seed: task.seed, index: $0) }
    }
  }

  /// One for all images, or one an image.
  private func maps(_ indices: [Int]) throws -> [any Map] {
    switch model {
    case .fixed(let map):
      guard let map else { preconditionFailure("no rank has a whole image that is shared") }
      return [map]
    case .pattern(let pattern):
      return try (pattern.isShared ? [0] : indices).map {
        try MaskMap(shape, mask: try pattern.observed(shape, seed: task.seed, index: $0))
      }
    case .mask(let mask):
      return try (mask.isShared ? [0] : indices).map { try MaskMap(shape, mask: mask.observed(index: $0)) }
    }
  }
}
