import AIPO
import ArgumentParser

extension ArgumentHelp {
  /// What the table of settings says of a flag.
  static func key<Root: KeyedSettings>(_ name: String, of _: Root.Type = ReconstructionTask.self)
    -> ArgumentHelp
  {
    guard let key = Root.key(named: name) else { preconditionFailure("no setting \(name)") }
    var notes: [String] = []
    if !key.words.isEmpty { notes.append("values: \(key.words.joined(separator: ", "))") }
    if !key.valueName.isEmpty, !key.help.contains("default:"), let usual = key.usual {
      notes.append("default: \(usual)")
    }
    let text = notes.isEmpty ? key.help : "\(key.help) (\(notes.joined(separator: "; ")))"
    return ArgumentHelp(text, valueName: key.valueName)
  }
}

extension CompletionKind {
  /// The words of a setting.
  static func key<Root: KeyedSettings>(_ name: String, of _: Root.Type = ReconstructionTask.self)
    -> CompletionKind
  {
    .list(Root.key(named: name)?.words ?? [])
  }
}

/// Flags that are settings, by the names of their table.
protocol SettingFlags: ParsableArguments {
  associatedtype Settings: KeyedSettings = ReconstructionTask
}

extension SettingFlags {
  /// Those that are given, with their texts: every property is one flag.
  private var given: [(name: String, text: String)] {
    Mirror(reflecting: self).children.flatMap { label, value -> [(name: String, text: String)] in
      let name = (label ?? "").dropFirst().reduce("") {
        $1.isUppercase ? "\($0)-\($1.lowercased())" : "\($0)\($1)"
      }
      switch value {
      case let option as Option<String?>: return option.wrappedValue.map { [(name, $0)] } ?? []
      case let flag as Flag<Bool>: return flag.wrappedValue ? [(name, "true")] : []
      case let group as OptionGroup<ReadingOptions>: return group.wrappedValue.given
      default: return []
      }
    }
  }

  /// What the flags say, and else as by default. Throws a usage error.
  func settings() throws -> Settings {
    var settings = Settings()
    try set(in: &settings)
    return settings
  }

  /// Sets what is given. Throws a usage error.
  func set(in root: inout some KeyedSettings) throws {
    for (name, text) in given { try root.set(name, to: text) }
  }
}

extension ReconstructionTask {
  /// What flags say. Throws a usage error.
  init(_ flags: any SettingFlags..., model: ModelOptions? = nil, common: CommonOptions? = nil) throws {
    self.init()
    for group in flags { try group.set(in: &self) }
    self.model = model?.model
    if let common { (seed, precision) = (common.seed, common.precision) }
  }
}

/// What was measured of an image.
struct OperatorOptions: SettingFlags {
  @Option(help: .key("task"), completion: .key("task")) var task: String?
  @Option(help: .key("operator"), completion: .file(extensions: ["npy"])) var `operator`: String?
  @Option(parsing: .unconditional, help: .key("measurements")) var measurements: String?
  @Option(help: .key("ensemble"), completion: .list(EnsembleChoice.names)) var ensemble: String?
  @Option(help: .key("size")) var size: String?
  @Option(help: .key("mask"), completion: .file()) var mask: String?
  @Option(help: .key("kernel"), completion: .file(extensions: ["npy"])) var kernel: String?
  @Option(help: .key("kernel-of"), completion: .key("kernel-of")) var kernelOf: String?
  @Option(help: .key("boundary"), completion: .key("boundary")) var boundary: String?
  @Option(parsing: .unconditional, help: .key("scale")) var scale: String?
  @Option(parsing: .unconditional, help: .key("phase")) var phase: String?
  @Option(help: .key("pattern")) var pattern: String?
  @Option(help: .key("mixing"), completion: .file(extensions: ["npy"])) var mixing: String?
  @Option(help: .key("geometry"), completion: .list(["parallel", "fan:"])) var geometry: String?
  @Option(parsing: .unconditional, help: .key("angles"), completion: .file(extensions: ["npy"])) var angles:
    String?
  @Option(parsing: .unconditional, help: .key("detectors")) var detectors: String?
  @Option(parsing: .unconditional, help: .key("detector-spacing")) var detectorSpacing: String?
  @Option(parsing: .unconditional, help: .key("offset")) var offset: String?
  @Option(parsing: .unconditional, help: .key("pixel-size")) var pixelSize: String?
  @Option(help: .key("kspace-mask"), completion: .file(extensions: ["npy"])) var kspaceMask: String?
  @Option(help: .key("trajectory"), completion: .file(extensions: ["npy"])) var trajectory: String?
  @Option(help: .key("coils"), completion: .file(extensions: ["npy"])) var coils: String?
}

/// What is observed: which images, and how they came to be as they are.
struct ObservationOptions: SettingFlags {
  @Option(help: .key("observation"), completion: .file()) var observation: String?
  @Option(help: .key("truth"), completion: .file()) var truth: String?
  @Option(help: .key("simulate"), completion: .file()) var simulate: String?
  @Option(help: .key("indices")) var indices: String?
  @Option(help: .key("noise"), completion: .list(NoiseChoice.names + ["flow:"])) var noise: String?
  @Option(parsing: .unconditional, help: .key("sigma")) var sigma: String?
  @Option(help: .key("noise-covariance"), completion: .file(extensions: ["npy"])) var noiseCovariance: String?
  @Option(parsing: .unconditional, help: .key("tip")) var tip: String?
  @Option(parsing: .unconditional, help: .key("nu")) var nu: String?
  @Option(parsing: .unconditional, help: .key("peak")) var peak: String?
  @Flag(help: .key("counts")) var counts = false
  @Option(parsing: .unconditional, help: .key("quantize")) var quantize: String?
  @Option(parsing: .unconditional, help: .key("saturate")) var saturate: String?
  @Option(parsing: .unconditional, help: .key("outliers")) var outliers: String?
  @Option(parsing: .unconditional, help: .key("mask-threshold")) var maskThreshold: String?
  @OptionGroup var reading: ReadingOptions
}

/// How it is solved.
struct SolverOptions: SettingFlags {
  @Option(help: .key("method"), completion: .key("method")) var method: String?
  @Option(help: .key("path"), completion: .list(PathChoice.named.map(\.name) + ["curve:"])) var path: String?
  @Option(parsing: .unconditional, help: .key("lambda")) var lambda: String?
  @Option(parsing: .unconditional, help: .key("flow-share")) var flowShare: String?
  @Option(parsing: .unconditional, help: .key("restarts")) var restarts: String?
  @Option(parsing: .unconditional, help: .key("penalty")) var penalty: String?
  @Option(help: .key("space"), completion: .key("space")) var space: String?
  @Option(help: .key("corrector"), completion: .key("corrector")) var corrector: String?
  @Option(help: .key("predictor"), completion: .key("predictor")) var predictor: String?
  @Option(parsing: .unconditional, help: .key("probes")) var probes: String?
  @Option(help: .key("init"), completion: .key("init")) var `init`: String?
  @Option(parsing: .unconditional, help: .key("tolerance")) var tolerance: String?
  @Option(parsing: .unconditional, help: .key("epsilon")) var epsilon: String?
  @Option(parsing: .unconditional, help: .key("max-evaluations")) var maxEvaluations: String?
}

/// What a run leaves behind.
struct ReconstructOutputOptions: ParsableArguments {
  @Option(
    help: .images(
      "The images", " Resolution and place in space are those of the observation's file. (default: none)"))
  var out: OutputPath?

  @Option(
    help: ArgumentHelp(
      "Values of a .tif: uint8 and uint16 (clipped to [0, 1]) or float, in the precision.", valueName: "type")
  )
  var depth = PixelDepth.float

  @Option(
    help: ArgumentHelp(
      "A report in one HTML file: images, error maps, curves, settings. (default: none)", valueName: "file"))
  var report: OutputPath?

  @Option(
    help: ArgumentHelp(
      """
      The pictures alone as a PNG: a column an image; truth, observation and every method as rows, with their \
      names. (default: none)
      """, valueName: "file"))
  var sheet: OutputPath?

  @Flag(inversion: .prefixedNo, help: "Whether the sheet names its rows and columns.")
  var sheetLabels = true

  @Option(
    help: ArgumentHelp("The states of every path, a JSON line each. (default: none)", valueName: "file"))
  var trace: OutputPath?

  @Option(
    name: .customLong("save-observation"),
    help: ArgumentHelp(
      """
      What was observed, as --observation takes it (hidden pixels are 0): an NPY or NPZ, unclipped. With --simulate, \
      the noisy data for another run. (default: none)
      """, valueName: "file"))
  var observation: OutputPath?

  func files(_ methods: [ReconstructionMethod]) -> ReconstructionFiles {
    var files = ReconstructionFiles()
    files.setImages(out?.path, of: methods)
    (files.depth, files.isSheetLabelled) = (depth, sheetLabels)
    (files.report, files.sheet) = (report?.path, sheet?.path)
    (files.trace, files.observation) = (trace?.path, observation?.path)
    return files
  }
}

extension PixelDepth: ExpressibleByArgument {}
