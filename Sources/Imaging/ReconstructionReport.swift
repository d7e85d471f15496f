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
    /// What happened at a state.
    public enum Event: Sendable, CaseIterable {
      /// Where the run began.
      case start
      /// The guess for the next solution on the path, where it was better than the last one.
      case predicted
      /// The problem at this place of the path was solved.
      case solved
      /// The corrector used up its iterations there.
      case unfinished
      /// The corrector couldn't descend there: the step was undone and halved.
      case failed
      /// The problem at a λ that was tried was solved.
      case trial
      /// A step of the descent at the target.
      case step
      /// The end.
      case finished
    }

    public var event: Event
    /// Whether it belongs to the path, and so is drawn against `parameter`.
    public var isOnPath: Bool
    public var evaluations: Int
    /// λ, t, or whatever the path runs along.
    public var parameter: Double
    public var lambda: Double
    /// What is minimised at this state, in nats.
    public var objective: Double
    public var recon: Double
    /// Nil where a part of the prior has no weight and wasn't evaluated.
    public var reg: Double?
    public var psnr: Double?

    public init(
      event: Event, isOnPath: Bool, evaluations: Int, parameter: Double, lambda: Double, objective: Double,
      recon: Double, reg: Double?, psnr: Double? = nil
    ) {
      self.event = event
      self.isOnPath = isOnPath
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
    /// Deviation of the noise that the result supposes.
    public var sigma: Double?
    /// The flow's share of what is minimised as the prior, the rest being a Gaussian's.
    public var flowShare: Double?
    public var evaluations: Int?
    public var converged: Bool?
    /// Why the run ended, as a sentence without its full stop.
    public var reason: String?
    public var path: Path?

    public init(
      method: String, image: Tensor<Float>?, psnr: Double? = nil, ssim: Double? = nil,
      objective: Double? = nil, recon: Double? = nil, reg: Double? = nil, lambda: Double? = nil,
      sigma: Double? = nil, flowShare: Double? = nil, evaluations: Int? = nil, converged: Bool? = nil,
      reason: String? = nil, path: Path? = nil
    ) {
      self.method = method
      self.image = image
      self.psnr = psnr
      self.ssim = ssim
      self.objective = objective
      self.recon = recon
      self.reg = reg
      self.lambda = lambda
      self.sigma = sigma
      self.flowShare = flowShare
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
    public var ssimObserved: Double?
    public var results: [Result]

    public init(
      source: String, truth: Tensor<Float>? = nil, observed: Tensor<Float>? = nil,
      observedNote: String? = nil, psnrObserved: Double? = nil, ssimObserved: Double? = nil, results: [Result]
    ) {
      self.source = source
      self.truth = truth
      self.observed = observed
      self.observedNote = observedNote
      self.psnrObserved = psnrObserved
      self.ssimObserved = ssimObserved
      self.results = results
    }
  }

  /// A row of a section's table: means over images with their standard errors, of dB for PSNR, each over the images
  /// that have the value; and the least and the greatest of what was chosen for an image.
  public struct SummaryRow: Sendable {
    public var method: String
    /// How many images it is of: rows of fewer images than others aren't compared with them.
    public var images: Int
    public var psnr: Estimate?
    public var ssim: Estimate?
    public var objective: Estimate?
    public var evaluations: Estimate?
    public var lambdas: ClosedRange<Double>?
    public var sigmas: ClosedRange<Double>?
    public var flowShares: ClosedRange<Double>?

    /// Of what was observed.
    public init(psnrObserved: [Double?], ssimObserved: [Double?]) {
      self.init(method: "observed", results: [], count: psnrObserved.count)
      psnr = Estimate(psnrObserved.map(Self.finite))
      ssim = Estimate(ssimObserved.map(Self.finite))
    }

    /// Of a method's results, whose pictures and paths aren't needed.
    public init(method: String, results: [Result]) {
      self.init(method: method, results: results, count: results.count)
    }

    private init(method: String, results: [Result], count: Int) {
      func estimate(_ value: (Result) -> Double?) -> Estimate? {
        Estimate(results.map { Self.finite(value($0)) })
      }
      func range(_ value: (Result) -> Double?) -> ClosedRange<Double>? {
        let present = results.compactMap { Self.finite(value($0)) }
        return present.min().map { $0...present.max()! }
      }
      self.method = method
      images = count
      psnr = estimate(\.psnr)
      ssim = estimate(\.ssim)
      objective = estimate(\.objective)
      evaluations = estimate { $0.evaluations.map(Double.init) }
      lambdas = range(\.lambda)
      sigmas = range(\.sigma)
      flowShares = range(\.flowShare)
    }

    private static func finite(_ value: Double?) -> Double? { value.flatMap { $0.isFinite ? $0 : nil } }
  }

  /// A task with its images.
  public struct Section: Sendable {
    public var title: String
    public var caption: String
    /// The methods by name, and what each of them does.
    public var methodNotes: [ReportHead.Field]
    public var settings: [ReportHead.Field]
    public var entries: [Entry]
    /// The table of means; nil to take it from the entries.
    public var summary: [SummaryRow]?

    public init(
      title: String, caption: String = "", methodNotes: [ReportHead.Field] = [],
      settings: [ReportHead.Field] = [], entries: [Entry], summary: [SummaryRow]? = nil
    ) {
      self.title = title
      self.caption = caption
      self.methodNotes = methodNotes
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

extension ReconstructionReport {
  /// Of `file#42` the number alone: images of one file needn't repeat its name.
  static func short(_ source: String) -> String {
    source.lastIndex(of: "#").map { String(source[$0...]) } ?? source
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
    let observed = ReconstructionReport.SummaryRow(
      psnrObserved: entries.map(\.psnrObserved), ssimObserved: entries.map(\.ssimObserved))
    let results = entries.flatMap(\.results)
    return (observed.psnr == nil ? [] : [observed])
      + methods.map { method in
        ReconstructionReport.SummaryRow(method: method, results: results.filter { $0.method == method })
      }
  }
}
