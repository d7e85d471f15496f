import AIPOImaging
import AIPOKernels
import AIPOSolvers

/// Where the results of `aipo posterior` go; all is optional.
public struct PosteriorFiles: Sendable {
  /// The mean images, in the format of the suffix (`ImageOutputFormat`). Deviations, quantiles and probabilities go beside
  /// it, under the names that `pictures` gives.
  public var mean: String?
  /// The kept draws, an NPZ of an array `[chain, draw, h, w, c]` an image.
  public var draws: String?
  /// A page with everything.
  public var report: String?
  /// Draws of the first image one after another, a PNG that moves.
  public var animation: String?
  /// The means of each image's modes, an NPZ of an array `[mode, h, w, c]` an image, and of their weights.
  public var modes: String?

  public init() {}

  /// Throws a usage error where a name says none of its formats, or two are one file.
  package func check(_ task: PosteriorTask) throws(TaskError) {
    try OutputFiles.require(mean, ImageOutputFormat.allCases, key: "out")
    try OutputFiles.require(animation, [.png], key: "animation")
    try OutputFiles.require(draws, suffixes: [".npz"], key: "save-draws")
    try OutputFiles.require(modes, suffixes: [".npz"], key: "save-modes")
    try OutputFiles.requireDistinct(named(task))
  }

  /// Every file that is written, by the flag that names it.
  package func named(_ task: PosteriorTask) -> [(key: String, path: String)] {
    let pictures = mean.map { Self.pictures(of: $0, task).map { ("out", $0.path) } } ?? []
    let others = [("save-draws", draws), ("save-modes", modes), ("report", report), ("animation", animation)]
    return pictures + others.compactMap { key, path in path.map { (key, $0) } }
  }

  /// Every picture file beside the mean, by what it holds.
  public static func pictures(of mean: String, _ task: PosteriorTask) -> [(kind: PictureKind, path: String)] {
    let options = task.sampling
    func beside(_ word: String) -> String { ImageOutputFormat.adding("-" + word, to: mean) }
    return [(.mean, mean), (.deviation, beside("sd"))]
      + options.probabilities.map { (.quantile($0), beside("q\(short(100 * $0))")) }
      + (options.threshold == nil ? [] : [(.exceedance, beside("exceeds"))])
  }

  public enum PictureKind: Sendable, Hashable {
    case mean, deviation, exceedance
    case quantile(Double)
  }

  /// What a PNG of deviations multiplies them by: a deviation of a quarter is white.
  static let deviationScale = 4.0
}

/// The files of a run, as its images come.
final class PosteriorWriters {
  private let files: PosteriorFiles
  private var pictures: [(kind: PosteriorFiles.PictureKind, sink: RowSink, isPNG: Bool)] = []
  private let draws: NPZWriter?
  private let modes: NPZWriter?
  private let isOne: Bool
  private var animation: Tensor<Float>?
  /// Whether chains of an image agree.
  private var hasQuantiles = false
  private var report: PosteriorReport?

  /// Frames of the animation, and draws of the report's strip.
  static let frames = 40
  static let strip = 8

  init(_ files: PosteriorFiles, _ sampling: PosteriorSampling, head: ReportHead) throws {
    self.files = files
    isOne = sampling.count == 1
    let input = sampling.reconstruction.input
    if let mean = files.mean {
      pictures = try PosteriorFiles.pictures(of: mean, sampling.task).map { kind, path in
        (
          kind,
          try RowSink(
            images: path, shape: input.shape, precision: sampling.model.precision, geometry: input.geometry),
          ImageOutputFormat(path: path) == .png
        )
      }
    }
    draws = try files.draws.map { try NPZWriter(path: $0) }
    modes = try files.modes.map { try NPZWriter(path: $0) }
    report = files.report == nil ? nil : PosteriorReport(head: head, settings: sampling.task.settings)
  }

  func write(_ image: SampledImage, index: Int) throws {
    let summary = image.summary
    func append(_ kind: PosteriorFiles.PictureKind, _ image: Tensor<Double>) throws {
      for picture in pictures where picture.kind == kind {
        var image = image
        if kind == .deviation, picture.isPNG {
          image.withMemory { $0.scale(by: PosteriorFiles.deviationScale) }
        }
        try picture.sink.append(image.reshaped([1] + image.shape))
      }
    }
    try append(.mean, summary.mean)
    try append(.deviation, summary.sd)
    for (probability, quantile) in summary.quantiles { try append(.quantile(probability), quantile) }
    if summary.quantiles.isEmpty {
      // Images keep their places in a file; one without an interval has no numbers, or is black in a PNG.
      for picture in pictures {
        guard case .quantile = picture.kind else { continue }
        var none = summary.mean
        none.withMemory { $0.set(picture.isPNG ? 0 : .nan) }
        try picture.sink.append(none.reshaped([1] + none.shape))
      }
    } else {
      hasQuantiles = true
    }
    if let share = summary.exceedance { try append(.exceedance, share) }
    let suffix = isOne ? "" : "\(index)"
    if let modes {
      let shape = [image.modes.count] + summary.mean.shape
      try modes.add(
        "image\(suffix)", try Tensor(shape: shape, elements: image.modes.flatMap(\.mean.elements)))
      try modes.add("weights\(suffix)", try Tensor(image.modes.map { $0.weight ?? .nan }))
    }
    if let draws {
      try draws.add("image\(suffix)", try image.draws.array())
      try draws.add("functionals\(suffix)", try image.draws.functionalArray())
    }
    if files.animation != nil, animation == nil { animation = try image.draws.frames(Self.frames) }
    try report?.add(image, strip: try image.draws.frames(Self.strip))
  }

  /// Puts the files in their places; none where nothing was finished.
  func finish(isEmpty: Bool, advices: AdviceList) throws {
    guard !isEmpty else { return }
    for picture in pictures {
      if case .quantile = picture.kind, !hasQuantiles { continue }
      try picture.sink.finish()
    }
    try draws?.finish()
    try modes?.finish()
    if let path = files.animation, let animation {
      let scale = max(1, 224 / max(animation.shape[1], animation.shape[2]))
      try AnimatedPNG.write(animation, to: path, scale: scale)
    }
    if let path = files.report, let report { try report.write(to: path, advices: advices) }
  }
}

extension PosteriorDraws {
  /// So many draws, evenly spaced over all chains, `[n, h, w, c]`.
  func frames(_ count: Int) throws -> Tensor<Float> {
    let all = kept.flatMap(\.self)
    let n = min(count, all.count)
    return try Tensor(
      shape: [n, shape.height, shape.width, shape.channels],
      elements: (0..<n).flatMap { all[$0 * all.count / n].image.elements })
  }

  /// `[chain, draw, functional]`
  func functionalArray() throws -> Tensor<Float> {
    try Tensor(
      shape: [chains, keptCount, functionals.count],
      elements: kept.flatMap { $0.flatMap { $0.functionals.map { Float($0) } } })
  }
}
