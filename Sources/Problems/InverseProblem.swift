import AIPOFlows
import AIPOKernels
import AIPOPriors

/// Measurements y of f(v) for some images v: maps, noise models and observations.
public struct InverseProblem: Sendable {
  public let imageShape: ImageShape
  /// The measurements, m values an image.
  public let observations: [Tensor<Double>]
  private let maps: [any Map]
  private let noises: [any NoiseModel]

  /// - `maps`: one for all images, or one an image.
  /// - `noises`: one for all images, or one an image.
  /// - `observations`: m finite numbers an image.
  public init(
    maps: [any Map], noises: [any NoiseModel], observations: [Tensor<Double>], imageShape: ImageShape
  )
    throws(ProblemError)
  {
    for (what, count) in [("map list", maps.count), ("noise list", noises.count)]
    where count != 1 && count != observations.count {
      throw .shapeMismatch(what: what, found: [count], expected: [observations.count])
    }
    for f in maps where f.input != imageShape {
      let expected = imageShape
      throw .shapeMismatch(
        what: "input of the map", found: [f.input.height, f.input.width, f.input.channels],
        expected: [expected.height, expected.width, expected.channels])
    }
    for (i, y) in observations.enumerated() {
      let m = maps[maps.count == 1 ? 0 : i].output.count
      guard y.count == m else {
        throw .shapeMismatch(what: "observation \(i)", found: [y.count], expected: [m])
      }
      if let bad = y.withUnsafeBufferPointer({ y in y.firstIndex { !$0.isFinite } }) {
        throw .nonFinite(what: "observation", image: i, position: bad, value: y[flat: bad])
      }
      try noises[noises.count == 1 ? 0 : i].check(y.view)
    }
    self.maps = maps
    self.noises = noises
    self.observations = observations
    self.imageShape = imageShape
  }

  /// From rows of a tensor: `[n, m]` or `[m]` measurements, or whole images `[n, h, w, c]`. Of whole images a mask
  /// takes its observed values, so hidden ones may be anything, NaN included.
  public init<S: KernelScalar>(
    maps: [any Map], noises: [any NoiseModel], observation: Tensor<S>, imageShape: ImageShape
  ) throws(ProblemError) {
    let image = [imageShape.height, imageShape.width, imageShape.channels]
    let m = maps.first?.output.count ?? imageShape.count
    let isWhole = observation.shape.count == 4
    if isWhole, Array(observation.shape.dropFirst()) != image {
      throw .shapeMismatch(
        what: "observation", found: observation.shape, expected: [observation.shape[0]] + image)
    }
    guard isWhole || observation.shape.count <= 2 else {
      throw .shapeMismatch(
        what: "observation", found: observation.shape, expected: [observation.shape[0], m])
    }
    let n = observation.shape.count == 1 ? 1 : observation.shape.first ?? 0
    let width = n == 0 ? m : observation.count / n
    var rows: [Tensor<Double>] = []
    for i in 0..<n {
      let f = maps[maps.count == 1 ? 0 : min(i, maps.count - 1)]
      let row = try memory { () throws(TensorError) in
        var row = try Tensor(count: width)
        observation.withUnsafeBufferPointer { values in
          row.withMemory { $0.set(converting: Memory(reading: values)[i * width..<(i + 1) * width]) }
        }
        return row
      }
      guard let mask = f as? MaskMap, width == imageShape.count, isWhole || mask.observed.count != width
      else {
        rows.append(row)
        continue
      }
      rows.append(
        try memory { () throws(TensorError) in try Tensor(mask.observed.map { row[flat: $0] }) })
    }
    try self.init(maps: maps, noises: noises, observations: rows, imageShape: imageShape)
  }

  /// The same problem with other noise models, or other observations.
  public func replacing(noises: [any NoiseModel]? = nil, observations: [Tensor<Double>]? = nil)
    throws(ProblemError) -> InverseProblem
  {
    try InverseProblem(
      maps: maps, noises: noises ?? self.noises, observations: observations ?? self.observations,
      imageShape: imageShape)
  }

  /// Images in the problem.
  public var count: Int { observations.count }

  /// Whether what is factored for one image's map and noise serves all.
  public var isShared: Bool { maps.count == 1 && noises.count == 1 && !noises[0].dependsOnSignal }

  /// The noise model of an image.
  public func noise(_ image: Int) -> any NoiseModel { noises[noises.count == 1 ? 0 : image] }

  /// The map of an image.
  public func map(_ image: Int) -> any Map { maps[maps.count == 1 ? 0 : image] }

  /// The map of an image where it is linear.
  public func linearMap(_ image: Int) -> (any LinearMap)? { map(image) as? any LinearMap }

  /// The data term of an image under a prior whose points stand for images by h.
  public func dataTerm(_ image: Int, encoding: Requantization?) -> DataTerm {
    DataTerm(map: map(image), noise: noise(image), observation: observations[image], encoding: encoding)
  }
}
