import AIPOFlows
import AIPOKernels

/// Reads another program's checkpoint as a model of ours.
///
/// What the file doesn't determine is taken from the options; where they don't say, it is settled by the density of the
/// images if there are any, and else assumed. Every such setting is part of the result.
public struct ModelImport {
  /// One thing that the file left open, or that the user gave.
  public struct Setting: Sendable, Hashable {
    public var option: String
    public var value: String
    /// How it came about: given, assumed, told by the file, or chosen, with the figures.
    public var reason: String
    /// Whether it was assumed, or chosen on images.
    public var isOpen = false
  }

  public let dialect: Dialect
  public private(set) var model: FlowModel
  public private(set) var settings: [Setting] = []
  /// Where the model's tensors were found in the file, and what else is in it.
  public private(set) var notes: [String] = []
  /// What looks wrong, a line each.
  public private(set) var warnings: [String] = []
  /// What the Gaussian's mean and covariance were fitted to.
  public private(set) var statisticsSource = ""
  /// Whether the file leaves the images' size open, so that the model takes any that its squeezes divide.
  public private(set) var sizeIsOpen = false

  /// - `path`: safetensors, or what torch.save wrote: a zip, or the stream of before torch 1.6.
  /// - `dialect`: nil finds it by the tensors' names.
  /// - `options`: by name, as the user gave them; unknown ones and values throw `ImportError`.
  /// - `images`: gives data as the model was trained on, to settle open options with and to fit the Gaussian to: real
  ///   numbers for a flow on vectors, else 8-bit images.
  /// - Throws: `FileError.malformed` for anything wrong in the file, `ImportError` for an option.
  public init(
    path: String, dialect: Dialect? = nil, options: [String: String] = [:],
    images: ((_ areVectors: Bool) throws -> TrainingImages)? = nil, seed: UInt64 = 0,
    threads: Int = ThreadPool.availableCores
  ) throws {
    try self.init(
      ByteSource(path: path, limit: StateDict.sizeLimit), dialect: dialect, options: options, images: images,
      seed: seed, threads: threads)
  }

  /// The same, of bytes from elsewhere.
  public init(
    _ source: ByteSource, dialect: Dialect? = nil, options: [String: String] = [:],
    images: ((_ areVectors: Bool) throws -> TrainingImages)? = nil, seed: UInt64 = 0,
    threads: Int = ThreadPool.availableCores
  ) throws {
    let given = try ImportOptions(options)
    let dict = try StateDict(source, key: given[.stateDict])
    guard let dialect = dialect ?? Dialect.of(dict) else {
      throw dict.source.malformed(
        "checkpoint", "of no known dialect (its first tensor is \(dict.names.first ?? "missing"))",
        Dialect.allCases.map(\.rawValue).joined(separator: ", "))
    }
    try given.requireKnown(to: dialect)
    let pool = ThreadPool(threads: threads)
    let isVector = dialect == .normflows && dict.shape("q0.loc")?.count == 2
    let work = ImportWork(
      dict: dict, dialect: dialect, given: given, images: try images?(isVector), isVector: isVector,
      seed: seed, pool: pool)
    let result = try dict.isDouble ? work.run(Double.self) : work.run(Float.self)
    self.dialect = dialect
    model = result.model
    settings = result.settings
    warnings = result.warnings
    notes = dict.notes
    statisticsSource = result.statisticsSource
    sizeIsOpen = result.sizeIsOpen
  }
}

/// What is wrong with an option of an import.
public struct ImportError: Error, Equatable, CustomStringConvertible {
  public let description: String
}

/// Options as the user gave them, checked.
struct ImportOptions {
  private var values: [ImportOption: String] = [:]

  init(_ given: [String: String]) throws(ImportError) {
    for (name, value) in given.sorted(by: { $0.key < $1.key }) {
      guard let option = ImportOption(rawValue: name) else {
        let names = ImportOption.allCases.map(\.rawValue).joined(separator: ", ")
        throw ImportError(description: "unknown option \(name), expected one of \(names)")
      }
      values[option] = value
    }
  }

  subscript(option: ImportOption) -> String? { values[option] }

  func requireKnown(to dialect: Dialect) throws(ImportError) {
    let known = [.stateDict, .size, .draws] + dialect.openSettings.map(\.option)
    if let other = values.keys.filter({ !known.contains($0) }).map(\.rawValue).min() {
      throw ImportError(
        description: "the option \(other) means nothing in the dialect \(dialect.rawValue), expected one of "
          + known.map(\.rawValue).joined(separator: ", "))
    }
  }

  func number<Number: Comparable & LosslessStringConvertible>(
    _ option: ImportOption, _ range: ClosedRange<Number>
  ) throws(ImportError) -> Number? {
    guard let text = values[option] else { return nil }
    guard let value = Number(text), range.contains(value) else {
      throw ImportError(
        description:
          "option \(option.rawValue) is \(text), expected \(range.lowerBound) to \(range.upperBound)")
    }
    return value
  }

  /// `HxW`
  func size() throws(ImportError) -> (height: Int, width: Int)? {
    guard let text = values[.size] else { return nil }
    let parts = text.split(separator: "x", omittingEmptySubsequences: false).map { Int($0) }
    guard parts.count == 2, let height = parts[0], let width = parts[1], (1...65536).contains(height),
      (1...65536).contains(width)
    else { throw ImportError(description: "option size is \(text), expected HxW like 64x64") }
    return (height, width)
  }
}
