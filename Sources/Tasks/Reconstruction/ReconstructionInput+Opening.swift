import AIPOImaging
import AIPOInterchange
import AIPOKernels

/// How what a task names is opened.
extension ReconstructionInput {
  /// The shape of the images of a task that has been checked, before there is a model; nil where it isn't told by what it
  /// simulates or observes, or they can't be read, which is told later.
  static func shape(of task: ReconstructionTask, _ images: ImageSet?) -> ImageShape? {
    let isSimulated = task.simulate != nil
    guard let measurement = try? TaskOperator(task),
      let path = task.simulate ?? (measurement.isPicture ? task.observation : nil)
    else { return nil }
    let reading = isSimulated ? task.reading : task.measuredReading
    guard let set = try? images ?? ImageSet(path: path, layout: reading.layout),
      let indices = try? task.indices?.indices(count: set.count, source: path) ?? Array(0..<set.count),
      let shape = try? set.shape(of: indices, transform: reading.transform)
    else { return nil }
    return isSimulated ? shape : measurement.image(measuredAs: shape)
  }

  /// The images that the task simulates or observes, in one shape that the model takes or that is measured of one; nil
  /// where it observes rows of measurements.
  static func open(
    _ task: ReconstructionTask, _ measurement: TaskOperator, _ model: ReconstructionModel, _ images: ImageSet?
  ) throws -> ModelImages? {
    let own = model.model.imageShape
    if let path = task.simulate {
      return try ModelImages(
        path: path, set: images, reading: task.reading, shape: own, indices: task.indices,
        accepts: model.accepts)
    }
    guard measurement.isPicture, let path = task.observation else { return nil }
    return try ModelImages(
      path: path, set: images, reading: task.measuredReading, shape: measurement.measured(own),
      indices: task.indices, isMeasured: true,
      accepts: {
        // A picture in colour may show what a colour filter array sees.
        model.accepts(measurement.image(measuredAs: $0)) || task.kind == .demosaic && model.accepts($0)
      })
  }

  static func truth(
    _ task: ReconstructionTask, shape: ImageShape, accepts: (ImageShape) -> Bool
  ) throws -> ModelImages? {
    guard let file = task.truth else { return nil }
    return try ModelImages(
      path: file, reading: task.reading, shape: shape, indices: task.indices, isMeasured: true,
      accepts: accepts)
  }

  static func source(
    _ task: ReconstructionTask, _ images: ModelImages?, _ truth: ModelImages?, measured: ImageShape,
    select: (Tensor<Double>) throws -> Tensor<Double>
  ) throws -> Source {
    if task.simulate != nil, let images { return .simulated(images) }
    guard let path = task.observation else { preconditionFailure("one of the two was checked for") }
    func requireTruth(count: Int) throws {
      guard let file = task.truth, let truth, truth.images.count != count else { return }
      throw TaskError(
        .data, "\(file): holds \(truth.images.count) images, expected \(count) as '\(path)'")
    }
    if let images {
      try requireTruth(count: images.images.count)
      return .images(images, truth: truth)
    }
    var array = try select(try ArrayFile.read(path, as: Double.self))
    let (found, m) = (array.shape, measured.count)
    let own = measured.isVector ? [m] : [measured.height, measured.width]
    // Of one image, or of several, and of one channel with or without its axis.
    let isOne = [own, own + [measured.channels], [m]].contains(found)
    guard !found.isEmpty, isOne || [own, own + [measured.channels], [m]].contains(Array(found.dropFirst())),
      array.count % m == 0, array.count > 0
    else {
      let list = own.map(String.init).joined(separator: ", ")
      throw TaskError(
        .data,
        "\(path): the observation has shape \(found), expected [\(list)] or [n, \(list)] for this operator")
    }
    array = array.reshaped([array.count / m, m])
    let count = array.shape[0]
    let indices = try task.indices?.indices(count: count, source: path) ?? Array(0..<count)
    let name = path.split(separator: "/").last.map(String.init) ?? path
    try requireTruth(count: count)
    return .rows(array, name: name, indices: indices, truth: truth)
  }

  /// The shape in which all images are stored; nil where they differ or there are none.
  static func storedShape(_ source: Source) -> ImageShape? {
    switch source {
    case .simulated(let images), .images(let images, _): images.images.commonShape
    case .rows: nil
    }
  }

  static func sourceCount(_ source: Source) -> Int {
    switch source {
    case .simulated(let images), .images(let images, _): images.images.count
    case .rows(let array, _, _, _): array.shape[0]
    }
  }
}
