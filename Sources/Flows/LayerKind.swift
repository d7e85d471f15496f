import AIPOKernels
import Synchronization

/// A layer as data: what settings and model files say of it, and how it is made.
///
/// The library's kinds are known by their names. One of one's own is registered before a file or a YAML names it:
///
/// ```swift
/// struct Reflection: LayerKind {
///   static let name = "reflection"
///   var vectors = 1
///   func makeLayer<Scalar: KernelScalar>(for input: ImageShape, in flow: FlowSpec, _: Scalar.Type) throws
///     -> any FlowLayer<Scalar>
///   { ReflectionLayer(channels: input.channels, vectors: vectors) }
/// }
/// LayerRegistry.register(Reflection.self)  // layers: [{reflection: {vectors: 2}}]
/// ```
public protocol LayerKind: Codable, Hashable, Sendable {
  /// How a YAML or a model file names it.
  static var name: String { get }

  /// The layer that the name alone stands for, and that is written by its name alone; nil where settings must follow, as
  /// by default.
  static var plain: Self? { get }

  /// Throws `FlowError.invalidSpec` where its settings describe no layer.
  func check() throws(FlowError)

  /// What height and width must be divisible by, and are divided by: 1, but for a squeeze.
  var divisor: Int { get }

  /// The shape of an image after the layer, by default that before it. Throws `FlowError.unsupportedShape` where the layer
  /// doesn't accept it.
  func output(for input: ImageShape) throws(FlowError) -> ImageShape

  /// Whether the layer has no kinks, as ReLU has; true by default.
  var isSmooth: Bool { get }

  /// Rows above and below a row of the image that the layer's output there depends on; nil, as by default, where it depends on
  /// the whole image, or where that isn't known.
  var reach: Int? { get }

  /// Multiplications with an addition that its products take at every pixel; none by default.
  func multiplyAdds(for input: ImageShape) throws(FlowError) -> Int

  /// The layer for images that come to it in this shape, in a flow with this base density and condition.
  func makeLayer<Scalar: KernelScalar>(
    for input: ImageShape, in flow: FlowSpec, _: Scalar.Type
  ) throws -> any FlowLayer<Scalar>
}

extension LayerKind {
  public static var plain: Self? { nil }
  public func check() throws(FlowError) {}
  public var divisor: Int { 1 }
  public func output(for input: ImageShape) throws(FlowError) -> ImageShape { input }
  public var isSmooth: Bool { true }
  public var reach: Int? { nil }
  public func multiplyAdds(for input: ImageShape) throws(FlowError) -> Int { 0 }
}

/// A layer kind that is compared by type and settings.
public struct AnyLayerKind: Hashable, Sendable {
  public let kind: any LayerKind

  public init(_ kind: any LayerKind) { self.kind = kind }

  public static func == (a: Self, b: Self) -> Bool { AnyHashable(a.kind) == AnyHashable(b.kind) }
  public func hash(into hasher: inout Hasher) { hasher.combine(AnyHashable(kind)) }
}

/// The kinds of layer that files and settings may name: the library's, and what the program registers. A file can't name
/// anything else.
public enum LayerRegistry {
  private static let kinds = Mutex<[any LayerKind.Type]>([
    ActnormKind.self, Conv1x1Kind.self, CouplingSpec.self, MaskedAffineSpec.self, ChannelOrder.self,
    SqueezeKind.self, SplitKind.self, FlattenKind.self, LogisticKind.self, LogitKind.self, WhiteningKind.self,
  ])

  /// Makes a kind known by its name, which must not be that of another.
  public static func register(_ kind: any LayerKind.Type) {
    precondition(kind.name != "repeat", "repeat is a repetition of layers")
    kinds.withLock { kinds in
      if let known = kinds.first(where: { $0.name == kind.name }) {
        precondition(known == kind, "another layer is registered as \(kind.name)")
      } else {
        kinds.append(kind)
      }
    }
  }

  static func kind(named name: String) -> (any LayerKind.Type)? {
    kinds.withLock { $0.first { $0.name == name } }
  }

  static var names: [String] { kinds.withLock { $0.map { $0.name } } }
}
