import AIPOKernels
import AIPOSolvers

/// A report on reconstructions as one HTML file that needs nothing else: pictures are inside, it opens
/// offline, follows the reader's light or dark theme, and prints.
///
/// Where its images have one result each, every image gets a card: truth, observation, result, error map, and the curves
/// along the path. Where several methods are compared, the images are rows and the methods columns. The file holds
/// nothing but what is put in here, so it is the same bytes for the same content.
struct ReconstructionReport {
  /// A state on the way to a result.
  struct PathPoint {
    var event: PathEvent
    /// Whether it belongs to the path, and so is drawn against `parameter`.
    var isOnPath: Bool
    var evaluations: Int
    /// λ, t, or whatever the path runs along.
    var parameter: Double
    var lambda: Double
    /// What is minimised at this state, in nats.
    var objective: Double
    var recon: Double
    /// Nil where a part of the prior has no weight and wasn't evaluated.
    var reg: Double?
    var psnr: Double?
  }

  /// The states in order, and what the path runs along: "λ", "t"; nil where there is none, as in a descent
  /// at a fixed λ.
  struct Path {
    var parameterName: String?
    var points: [PathPoint]
  }

  /// What a method made of an image.
  struct Result {
    var method: String
    var record: ReconstructionRecord
    /// `[h, w, c]`, or nil where there is no finite result.
    var image: Tensor<Float>?
    var path: Path?
  }

  /// One image. Pictures are `[h, w, c]`; NaN is drawn as a missing pixel.
  struct Entry {
    var source: String
    var truth: Tensor<Float>?
    var observed: Tensor<Float>?
    /// Says what the observation is where that isn't plain, as "A⁺y of 100 numbers"; stands in for a picture.
    var observedNote: String?
    var results: [Result] = []

    var psnrObserved: Double? { results.first?.record.psnrObserved }
    var ssimObserved: Double? { results.first?.record.ssimObserved }
  }

  /// A row of a section's table: means over images with their standard errors, of dB for PSNR, each over the images
  /// that have the value; and the least and the greatest of what was chosen for an image.
  struct SummaryRow {
    var method: String
    /// How many images it is of: rows of fewer images than others aren't compared with them.
    var images: Int
    var psnr: Estimate?
    var ssim: Estimate?
    var objective: Estimate?
    var evaluations: Estimate?
    var lambdas: ClosedRange<Double>?
    var sigmas: ClosedRange<Double>?
    var flowShares: ClosedRange<Double>?

    /// Of what was observed.
    init(observed records: [ReconstructionRecord]) {
      method = "observed"
      images = records.count
      psnr = Estimate(records.map(\.psnrObserved))
      ssim = Estimate(records.map(\.ssimObserved))
    }

    /// Of a method's results.
    init(method: String, records: [ReconstructionRecord]) {
      func range(_ value: (ReconstructionRecord) -> Double) -> ClosedRange<Double>? {
        let values = records.map(value).filter(\.isFinite)
        return values.min().map { $0...values.max()! }
      }
      self.method = method
      images = records.count
      psnr = Estimate(records.map(\.psnr))
      ssim = Estimate(records.map(\.ssim))
      objective = Estimate(records.map(\.objective))
      evaluations = Estimate(records.map { Double($0.evaluations) })
      lambdas = range(\.lambda)
      sigmas = range(\.sigma)
      flowShares = ReconstructionReport.usesFlow(method) ? range(\.flowShare) : nil
    }
  }

  var head: ReportHead
  /// Of the task.
  var title: String
  var caption = ""
  /// The methods by name, and what each of them does.
  var methodNotes: [ReportHead.Field] = []
  var settings: [ReportHead.Field] = []
  var entries: [Entry]
  /// The table of means.
  var rows: [SummaryRow]

  /// Methods in the order of their first appearance.
  var methods: [String] {
    var seen = [String]()
    for result in entries.flatMap(\.results) where !seen.contains(result.method) {
      seen.append(result.method)
    }
    return seen
  }

  /// Writes the file, whole or not at all. Throws `unwritable`.
  func write(to path: String) throws(FileError) { try AtomicFile.write(html(), to: path) }

  static func usesFlow(_ method: String) -> Bool { ReconstructionMethod(rawValue: method)?.usesFlow ?? true }

  /// Of `file#42` the number alone: images of one file needn't repeat its name.
  static func short(_ source: String) -> String {
    source.lastIndex(of: "#").map { String(source[$0...]) } ?? source
  }
}
