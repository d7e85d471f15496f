import AIPOFlows
import AIPOImaging
import AIPOKernels
import AIPOPriors

/// What a model says of an image.
public struct ImageLikelihood: Sendable {
  public let name: String
  /// log p(x) in nats, x on [0, 1]: of 8-bit pixels at the middle of their bin, of floats at the floats.
  public let logProb: Double
  /// Bits/dim by that.
  public let bitsAtPoint: Double
  /// Bits/dim with the noise of the dequantisation drawn; nil where nothing is drawn.
  public let expected: ExpectedBits?

  public var bitsPerDim: Double { expected?.bitsPerDim ?? bitsAtPoint }
  public var isFinite: Bool { logProb.isFinite && bitsPerDim.isFinite }
}

/// What came of turning images into latents, or back: all but the rows themselves.
public struct TransformedRows: Sendable {
  /// log |det| of every row.
  public internal(set) var logDet: [Double] = []
  /// Rows that are NaN.
  public internal(set) var unusable: UnusableRows
  /// Rows that an inverse in this precision doesn't give back.
  public internal(set) var inexact = UnusableRows("don't come back from their latents")
  /// Images that are unlike those of the training.
  public internal(set) var unlike: [Advice] = []

  init(_ what: String) { unusable = UnusableRows(what) }

  /// What stands out about rows that were worked in this precision.
  public func advices<Scalar: KernelScalar>(in _: Scalar.Type) -> [Advice] {
    [unusable, inexact].compactMap { $0.advice(of: logDet.count, in: Scalar.self) } + unlike
  }
}

extension LoadedModel {
  /// The images at these places as the density takes them. `raw` takes values as they are; otherwise 8-bit pixels go
  /// to the middle of their dequantisation bin.
  private func values(_ images: ModelImages, _ range: Range<Int>, raw: Bool) throws -> Tensor<Scalar> {
    let values: Tensor<Scalar> = try images.read(range)
    return raw || !images.images.isEightBit ? values : dequantization.middles(of: values)
  }

  /// Bits/dim of images by draws, `indices` theirs in their source.
  private func bits(
    of images: Tensor<Scalar>, under prior: FlowPrior<Scalar>, _ indices: [Int], draws: Int, seed: UInt64
  ) throws -> [ExpectedBits] {
    let values = try images.converted(to: Double.self)
    let scratch = Scratch(pool: flow.pool)
    let d = images.rowLength
    return try indices.enumerated().map { k, index in
      try ExpectedBits.measure(
        prior, values.view[k * d..<(k + 1) * d], index: index, dequantization: dequantization, draws: draws,
        seed: seed, scratch)
    }
  }

  /// Whether bits/dim are the mean of draws, or else the value at the point.
  public func drawsBits(raw: Bool) -> Bool { !raw && !dequantization.isNone }

  /// log p(x) and bits/dim of images. One without finite figures costs the others nothing.
  public func logProb(
    _ images: ModelImages, raw: Bool = false, draws: Int = ExpectedBits.usualDraws, seed: UInt64 = 0,
    observer: WorkObserver = WorkObserver()
  ) throws -> [ImageLikelihood] {
    let flow = try flow.at(images.shape)
    var rows: [ImageLikelihood] = []
    try observer.inBatches(of: images.shape, count: images.count) { range in
      let x = try values(images, range, raw: raw)
      let logProb = try flow.evaluate(x)
      let indices = Array(images.indices[range])
      let expected =
        drawsBits(raw: raw)
        ? try bits(of: x, under: FlowPrior(flow), indices, draws: draws, seed: seed) : nil
      for (k, value) in logProb.enumerated() {
        rows.append(
          ImageLikelihood(
            name: images.images.name(of: indices[k]), logProb: value,
            bitsAtPoint: dequantization.bitsPerDim(logProb: value, dimensions: images.shape.count),
            expected: expected?[k]))
      }
    }
    return rows
  }

  /// What stands out about images by their likelihoods: those that have no finite one, and, where `judges`, those that are
  /// unlike the training's.
  public func advices(on rows: [ImageLikelihood], judges: Bool) -> [Advice] {
    var unusable = UnusableRows("have no finite log-density")
    unusable.add(rows.filter { !$0.isFinite }.map(\.name))
    let unlike = rows.filter { judges && $0.isFinite }.compactMap {
      model.figures.advice(bitsPerDim: $0.bitsPerDim, of: $0.name)
    }
    return [unusable.advice(of: rows.count, in: Scalar.self)].compactMap(\.self) + unlike
  }

  /// Latents of images, `[k, d]` at a time, NaN where an image has none that are finite.
  ///
  /// `judges`: whether images are compared with those of the training.
  public func encode(
    _ images: ModelImages, raw: Bool = false, judges: Bool = true, seed: UInt64 = 0,
    observer: WorkObserver = WorkObserver(), to sink: (Tensor<Scalar>) throws -> Void
  ) throws -> TransformedRows {
    let flow = try flow.at(images.shape)
    let judges = judges && model.figures.bitsLimit != nil && drawsBits(raw: raw)
    var result = TransformedRows("have no finite latents")
    try observer.inBatches(of: images.shape, count: images.count) { range in
      let x = try values(images, range, raw: raw)
      var (latents, determinants) = try flow.encode(x)
      let finite = Set(latents.finiteRows)
      let notFinite = (0..<range.count).filter { !finite.contains($0) }
      let lost = try flow.rowsThatDontComeBack(images: x, latents: latents).filter(finite.contains)
      let indices = Array(images.indices[range])
      func name(_ k: Int) -> String { images.images.name(of: indices[k]) }
      result.unusable.add(notFinite.map(name))
      result.inexact.add(lost.map(name))
      latents.fill(rows: notFinite, with: .nan)
      if judges {
        result.unlike += try bits(of: x, under: FlowPrior(flow), indices, draws: 1, seed: seed).enumerated()
          .compactMap { model.figures.advice(bitsPerDim: $1.bitsPerDim, of: name($0)) }
      }
      try sink(latents)
      result.logDet += determinants
    }
    return result
  }

  /// Images of latents `[n, d]`, `[k, h, w, c]` at a time with those that are finite, NaN where one isn't.
  ///
  /// - `name`: of the latents, for what is said of a row.
  /// - `size`: of the images, where it isn't that of the training.
  public func decode(
    _ latents: Tensor<Scalar>, name: String = "latents", size: PixelSize? = nil,
    observer: WorkObserver = WorkObserver(), to sink: (Tensor<Scalar>, _ finite: [Int]) throws -> Void
  ) throws -> TransformedRows {
    let flow = try flow(for: size)
    let d = flow.dimension
    let rows = latents.shape.count == 1 ? latents.reshaped([1, latents.shape[0]]) : latents
    guard rows.shape.count == 2, rows.shape[0] > 0, rows.shape[1] == d else {
      throw TaskError(
        .data,
        "\(name): the latents have shape \(latents.shape), expected [n, \(d)] or [\(d)] for images of "
          + "\(flow.imageShape)" + (size == nil ? "; --size HxW gives another size" : ""))
    }
    var result = TransformedRows("have no finite image")
    try observer.inBatches(of: flow.imageShape, count: rows.shape[0]) { range in
      var (images, determinants) = try flow.decode(try rows.rows(range))
      let finite = images.finiteRows
      let notFinite = Set(determinants.indices).subtracting(finite).sorted()
      result.unusable.add(notFinite.map { "\(name)#\(range.lowerBound + $0)" })
      images.fill(rows: notFinite, with: .nan)
      try sink(images, finite)
      result.logDet += determinants
    }
    return result
  }

  /// Draws of the model that are finite, `[k, h, w, c]` at a time; how many there were, and the numbers of those left
  /// out. Draw i depends on the seed and i alone; its latents are from N(0, T²), T the temperature.
  ///
  /// Throws a `TaskError` where most draws aren't finite.
  public func sample(
    count: Int, temperature: Double = 1, size: PixelSize? = nil, seed: UInt64 = 0,
    observer: WorkObserver = WorkObserver(), to sink: (Tensor<Scalar>) throws -> Void
  ) throws -> (drawn: Int, advice: Advice?, leftOut: Int) {
    let flow = try flow(for: size)
    let batch = batchSize(flow.imageShape)
    var done = 0
    var leftOut: [Int] = []
    let remedy =
      "aren't finite: the model was trained too little, or on too few images; train it further, or draw with "
      + "--temperature \(temperature > 0.75 ? "0.7" : fixed(temperature * 0.7, 2))"
    while done < count, !observer.isCancelled() {
      let first = done + leftOut.count
      let size = min(batch, count - done)
      let images = try flow.sample(indices: first..<first + size, temperature: temperature, seed: seed)
      let finite = images.finiteRows
      leftOut += (0..<size).filter { !finite.contains($0) }.map { first + $0 }
      done += finite.count
      guard leftOut.count <= max(done, 16) else {
        throw TaskError(.data, "\(leftOut.count) of \(done + leftOut.count) draws \(remedy)")
      }
      try sink(images.rows(finite))
      observer.onProgress(Double(done))
    }
    guard !leftOut.isEmpty else { return (done, nil, 0) }
    let drawn = done + leftOut.count
    let share = fixed(100 * Double(leftOut.count) / Double(drawn), 0)
    let text =
      "left out \(leftOut.count) of \(drawn) draws (\(share) %: \(Advice.list(leftOut))), which \(remedy)"
    return (done, Advice("draws aren't finite", text), leftOut.count)
  }
}
