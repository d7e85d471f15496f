import AIPOFlows
import AIPOImaging
import AIPOKernels
import AIPOProblems
import AIPOSolvers

/// What is to be reconstructed and how: the flags of `aipo reconstruct`, the options of a study and JSON are three
/// spellings of it (``SettingKey``).
///
/// ```swift
/// var task = ReconstructionTask(.denoise)
/// task.observation = "noisy.png"
/// task.sigma = 0.1
/// ```
public struct ReconstructionTask: Hashable, Sendable {
  // MARK: What was observed

  public var kind: TaskKind?
  /// The observed images or measurements, a file.
  public var observation: String?
  /// The matrix of `sense` and `phase`, a file.
  public var operatorFile: String?
  /// The true images, where they are known.
  public var truth: String?
  /// Images that are taken as truth, and measured by simulation.
  public var simulate: String?
  /// Which images of these; nil for all.
  public var indices: IndexSelection?
  /// Measurements of a simulated `sense`, and of `phase`.
  public var measurements: Int?
  /// Which pixels `inpaint` misses.
  public var mask: MaskChoice?
  /// The share of a mask's greatest value from which on pixels are observed.
  public var maskThreshold: Double?
  /// The weights of `deblur` and `superresolve`.
  public var kernel: KernelChoice?
  /// What a kernel of a grid belongs to; nil for the measured pixel.
  public var kernelOf: VaryingBlur.Order?
  /// What an image is taken to be beyond its borders.
  public var boundary: Boundary?
  /// How many times smaller the observation of `superresolve` is.
  public var scale: Int?
  /// Where in a block of the large image its pixel has its middle.
  public var phase: Double?
  /// The colours that `demosaic` sees.
  public var pattern: ColourPattern?
  /// What `unmix` mixes.
  public var mixing: MixingChoice?
  /// What random measurements of `sense` and `phase` are made by; nil for normal entries.
  public var ensemble: EnsembleChoice?
  /// The rays of `ct`; nil for parallel ones.
  public var geometry: GeometryChoice?
  /// The angles of `ct`.
  public var angles: AnglesChoice?
  /// Detectors of `ct`; nil for as many as see all of the image.
  public var detectors: Int?
  /// Between neighbouring detectors; nil for a pixel's size, as a fan enlarges it.
  public var detectorSpacing: Double?
  /// Of the detectors' middle.
  public var offset: Double?
  /// The side of a pixel, in the unit of line integrals.
  public var pixelSize: Double?
  /// The samples of k-space that `mri` takes.
  public var kspaceMask: SamplingChoice?
  /// Its samples that lie on no grid, an array.
  public var trajectory: String?
  /// Sensitivities of its coils, an array.
  public var coils: String?
  /// Height and width of the images, where the observation doesn't tell them.
  public var size: PixelSize?
  public var reading = ImageReading()

  // MARK: Its noise

  public var noise = NoiseChoice.gaussian
  /// Nil for the default of the task.
  public var sigma: SigmaChoice?
  public var noiseCovariance: String?
  /// How far the tip of Laplace's law is rounded.
  public var tip: Double?
  /// Student's degrees of freedom.
  public var nu: Double?
  /// Poisson's mean count of white.
  public var peak: Double?
  /// Whether the observation holds Poisson's counts themselves.
  public var counts = false
  /// Bits to which measurements were rounded.
  public var quantize: Int?
  /// The ends of the sensor's range.
  public var saturate: ValueRange?
  /// The share of outliers.
  public var outliers: Double?

  // MARK: How it is solved

  /// Each of them on the same data.
  public var methods = [ReconstructionMethod.aipo]
  public var path = PathChoice.auto
  public var lambda = LambdaSetting.auto
  public var flowShare = NumberOrAuto.auto
  public var restarts: Int?
  public var penalty = NumberOrAuto.auto
  public var space = SolutionSpace.x
  public var corrector = MinimizerChoice.lbfgs
  public var predictor = PredictorChoice.secant
  public var probes = CurvatureProbes().count
  public var start = StartChoice.auto
  public var tolerance = ToleranceRule().tolerance
  public var epsilon = NumberOrAuto.auto
  public var maxEvaluations = ReconstructionOptions().maximumEvaluations

  // MARK: By what

  /// The model's file; nil for the one that ``ModelLocator`` finds.
  public var model: String?
  /// Of everything random.
  public var seed: UInt64 = 0
  public var precision = Precision.float32

  public init() {}

  public init(_ kind: TaskKind?) { self.kind = kind }

  // MARK: What it comes to

  /// What observed values are divided by.
  var countScale: Double { counts ? peak ?? Self.usual.peak : 1 }

  static let usual = (tip: 1.0, nu: 3.0, peak: 30.0, outliers: 0.1)

  /// With what the noise has by default, for m measurements.
  func resolved(measurements m: Int) -> ReconstructionTask {
    var task = self
    let isSigmaFree = noiseCovariance != nil || { if case .flow = noise { true } else { false } }()
    if sigma == nil, !isSigmaFree {
      task.sigma = .number(noise == .poisson ? 0 : usualSigma(measurements: m))
    }
    switch noise {
    case .laplace: task.tip = tip ?? Self.usual.tip
    case .student: task.nu = nu ?? Self.usual.nu
    case .poisson: task.peak = peak ?? Self.usual.peak
    case .outliers: task.outliers = outliers ?? Self.usual.outliers
    case .gaussian, .flow: break
    }
    return task
  }

  func usualSigma(measurements m: Int) -> Double {
    switch kind {
    case .denoise, nil: 0.1
    case .inpaint, .deblur, .superresolve, .demosaic, .unmix, .ct, .mri, .phase: 0.01
    case .sense: 0.1 / Double(m).squareRoot()
    }
  }

  /// How the observation is read where it is images: counts of any type over the peak.
  var measuredReading: ImageReading {
    var reading = reading
    guard counts else { return reading }
    // Of exactly all values of a type would mean pixels, with (v + ½)/256.
    let isType = countScale == 255 || countScale == 65535
    reading.transform.range = ValueRange(low: 0, high: isType ? countScale.nextUp : countScale)
    return reading
  }

  /// The solver's options for one method.
  func options(
    _ method: ReconstructionMethod, shape: ImageShape, indices: [Int], dequantization: Dequantization
  ) -> ReconstructionOptions {
    var options = ReconstructionOptions()
    options.method = method
    options.path = path
    options.lambda = lambda.number.map { .value($0) } ?? .auto
    options.flowShare = flowShare.number
    options.space = space
    options.start = start
    options.minimizer = corrector.makeMinimizer
    options.predictor = predictor.predictor
    options.stopRule = ToleranceRule(
      tolerance: tolerance,
      epsilon: epsilon.number.map { $0 / Double(shape.count).squareRoot() } ?? ToleranceRule().epsilon)
    options.maximumEvaluations = maxEvaluations
    options.restarts = restarts
    if let weight = penalty.number { options.penalty = .value(weight) }
    options.seed = seed
    options.domain = dequantization.pixelRange
    options.probes = probes == 0 ? .none : CurvatureProbes(count: probes)
    options.sourceIndices = indices
    return options
  }
}

extension ReconstructionTask: Codable {
  /// Reads keys as they are spelled everywhere; values may be strings, numbers or booleans.
  public init(from decoder: any Decoder) throws {
    self.init()
    let container = try decoder.container(keyedBy: AnyKey.self)
    for key in container.allKeys {
      let text: String
      if let word = try? container.decode(String.self, forKey: key) {
        text = word
      } else if let flag = try? container.decode(Bool.self, forKey: key) {
        text = "\(flag)"
      } else if let number = try? container.decode(UInt64.self, forKey: key) {
        text = "\(number)"
      } else {
        text = "\(try container.decode(Double.self, forKey: key))"
      }
      try set(
        Self.keys.first { $0.jsonName == key.stringValue }?.name ?? key.stringValue, to: text)
    }
    try check()
  }

  /// Writes what isn't as by default.
  public func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: AnyKey.self)
    let usual = ReconstructionTask()
    for key in Self.keys {
      guard let value = key.read(self), value.compact != key.read(usual)?.compact else { continue }
      let name = AnyKey(stringValue: key.jsonName)
      switch value {
      case .number(let number): try container.encode(number, forKey: name)
      case .int(let number): try container.encode(number, forKey: name)
      case .unsigned(let number): try container.encode(number, forKey: name)
      case .bool(let flag): try container.encode(flag, forKey: name)
      default: try container.encode(value.text, forKey: name)
      }
    }
  }

  private struct AnyKey: CodingKey {
    var stringValue: String
    var intValue: Int? { nil }
    init(stringValue: String) { self.stringValue = stringValue }
    init?(intValue: Int) { nil }
  }
}
