import AIPOKernels

/// A report on reconstructions as one HTML file that needs nothing else: pictures are inside, it opens
/// offline, follows the reader's light or dark theme, and prints.
///
/// A section is a task. Where its images have one result each, every image gets a card: truth,
/// observation, result, error map, and the curves along the path. Where several methods are compared,
/// the images are rows and the methods columns. The file holds nothing but what is put in here, so it
/// is the same bytes for the same content.
public struct ReconstructionReport: Sendable {
  /// A state on the way to a result.
  public struct PathPoint: Sendable {
    /// What a state is a milestone of.
    public enum Stage: Sendable {
      /// The path: its problem at `parameter` is solved.
      case path
      /// The choice of λ: the problem at `lambda` is solved.
      case trial
      /// None: a step of a descent.
      case descent
    }

    public var stage: Stage
    public var evaluations: Int
    /// λ, t, or whatever the path runs along.
    public var parameter: Double
    public var lambda: Double
    /// What is minimised at this state, in nats.
    public var objective: Double
    public var recon: Double
    public var reg: Double
    public var psnr: Double?

    public init(
      stage: Stage, evaluations: Int, parameter: Double, lambda: Double, objective: Double, recon: Double,
      reg: Double, psnr: Double? = nil
    ) {
      self.stage = stage
      self.evaluations = evaluations
      self.parameter = parameter
      self.lambda = lambda
      self.objective = objective
      self.recon = recon
      self.reg = reg
      self.psnr = psnr
    }
  }

  /// The states in order, and what the path runs along: "λ", "t"; nil where there is none, as in a descent
  /// at a fixed λ.
  public struct Path: Sendable {
    public var parameterName: String?
    public var points: [PathPoint]

    public init(parameterName: String?, points: [PathPoint]) {
      self.parameterName = parameterName
      self.points = points
    }
  }

  /// What a method made of an image.
  public struct Result: Sendable {
    public var method: String
    /// `[h, w, c]`, or nil where there is no finite result.
    public var image: Tensor<Float>?
    public var psnr: Double?
    public var ssim: Double?
    public var objective: Double?
    public var recon: Double?
    public var reg: Double?
    public var lambda: Double?
    public var evaluations: Int?
    public var converged: Bool?
    /// Why the run ended, as a sentence without its full stop.
    public var reason: String?
    public var path: Path?

    public init(
      method: String, image: Tensor<Float>?, psnr: Double? = nil, ssim: Double? = nil,
      objective: Double? = nil, recon: Double? = nil, reg: Double? = nil, lambda: Double? = nil,
      evaluations: Int? = nil, converged: Bool? = nil, reason: String? = nil, path: Path? = nil
    ) {
      self.method = method
      self.image = image
      self.psnr = psnr
      self.ssim = ssim
      self.objective = objective
      self.recon = recon
      self.reg = reg
      self.lambda = lambda
      self.evaluations = evaluations
      self.converged = converged
      self.reason = reason
      self.path = path
    }
  }

  /// One image of a task. Pictures are `[h, w, c]`; NaN is drawn as a missing pixel.
  public struct Entry: Sendable {
    public var source: String
    public var truth: Tensor<Float>?
    public var observed: Tensor<Float>?
    /// Says what the observation is where that isn't plain, as "A⁺y of 100 numbers"; stands in for a picture.
    public var observedNote: String?
    public var psnrObserved: Double?
    public var results: [Result]

    public init(
      source: String, truth: Tensor<Float>? = nil, observed: Tensor<Float>? = nil,
      observedNote: String? = nil, psnrObserved: Double? = nil, results: [Result]
    ) {
      self.source = source
      self.truth = truth
      self.observed = observed
      self.observedNote = observedNote
      self.psnrObserved = psnrObserved
      self.results = results
    }
  }

  /// A row of a section's table of means.
  public struct SummaryRow: Sendable {
    public var method: String
    public var psnr: Double?
    public var ssim: Double?
    public var objective: Double?
    public var evaluations: Double?
    /// The least and the greatest λ.
    public var lambdas: ClosedRange<Double>?

    public init(
      method: String, psnr: Double? = nil, ssim: Double? = nil, objective: Double? = nil,
      evaluations: Double? = nil, lambdas: ClosedRange<Double>? = nil
    ) {
      self.lambdas = lambdas
      self.method = method
      self.psnr = psnr
      self.ssim = ssim
      self.objective = objective
      self.evaluations = evaluations
    }
  }

  /// A task with its images.
  public struct Section: Sendable {
    public var title: String
    public var caption: String
    public var settings: [ReportHead.Field]
    public var entries: [Entry]
    /// The table of means; nil to take it from the entries (means over the images that have the value,
    /// of dB for PSNR).
    public var summary: [SummaryRow]?

    public init(
      title: String, caption: String = "", settings: [ReportHead.Field] = [], entries: [Entry],
      summary: [SummaryRow]? = nil
    ) {
      self.title = title
      self.caption = caption
      self.settings = settings
      self.entries = entries
      self.summary = summary
    }
  }

  public var head: ReportHead
  public var sections: [Section]

  public init(_ head: ReportHead, sections: [Section]) {
    self.head = head
    self.sections = sections
  }

  /// Writes the file, whole or not at all. Throws `unwritable`.
  public func write(to path: String) throws(FileError) {
    try AtomicFile.write(html(), to: path)
  }
}

extension ReconstructionReport.SummaryRow {
  /// From the least to the greatest of what is there; nil where nothing is.
  public static func range(_ values: [Double?]) -> ClosedRange<Double>? {
    let present = values.compactMap { $0 }.filter(\.isFinite)
    return present.min().map { $0...present.max()! }
  }
}

extension ReconstructionReport.Section {
  /// Methods in the order of their first appearance.
  var methods: [String] {
    var seen = [String]()
    for result in entries.flatMap(\.results) where !seen.contains(result.method) {
      seen.append(result.method)
    }
    return seen
  }

  var rows: [ReconstructionReport.SummaryRow] {
    if let summary { return summary }
    func mean(_ values: [Double?]) -> Double? {
      let present = values.compactMap { $0 }.filter(\.isFinite)
      return present.isEmpty ? nil : present.reduce(0, +) / Double(present.count)
    }
    var rows = [ReconstructionReport.SummaryRow]()
    if let psnr = mean(entries.map(\.psnrObserved)) {
      rows.append(ReconstructionReport.SummaryRow(method: "observed", psnr: psnr))
    }
    for method in methods {
      let results = entries.flatMap(\.results).filter { $0.method == method }
      rows.append(
        ReconstructionReport.SummaryRow(
          method: method, psnr: mean(results.map(\.psnr)), ssim: mean(results.map(\.ssim)),
          objective: mean(results.map(\.objective)),
          evaluations: mean(results.map { $0.evaluations.map(Double.init) }),
          lambdas: ReconstructionReport.SummaryRow.range(results.map(\.lambda))))
    }
    return rows
  }
}
