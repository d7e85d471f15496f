import AIPOKernels
import Synchronization

/// A layer as data: what settings and model files say of it, and how it is made.
///
/// The library's kinds are the cases of `LayerSpec`. One of one's own is registered before a file or a YAML names it:
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

  /// Throws `FlowError.invalidSpec` where its settings describe no layer.
  func check() throws(FlowError)

  /// What height and width must be divisible by, and are divided by: 1, but for a squeeze.
  var divisor: Int { get }

  /// The shape of an image after the layer, by default that before it. Throws `FlowError.unsupportedShape` where the layer
  /// doesn't accept it.
  func output(for input: ImageShape) throws(FlowError) -> ImageShape

  /// Whether the layer has no kinks, as ReLU has; true by default.
  var isSmooth: Bool { get }

  /// Multiplications with an addition that its products take at every pixel; none by default.
  func multiplyAdds(for input: ImageShape) throws(FlowError) -> Int

  /// The layer for images that come to it in this shape, in a flow with this base density and condition.
  func makeLayer<Scalar: KernelScalar>(
    for input: ImageShape, in flow: FlowSpec, _: Scalar.Type
  ) throws -> any FlowLayer<Scalar>
}

extension LayerKind {
  public func check() throws(FlowError) {}
  public var divisor: Int { 1 }
  public func output(for input: ImageShape) throws(FlowError) -> ImageShape { input }
  public var isSmooth: Bool { true }
  public func multiplyAdds(for input: ImageShape) throws(FlowError) -> Int { 0 }
}

/// A layer kind of one's own in a `FlowSpec`.
public struct OwnLayerKind: Hashable, Sendable {
  public let kind: any LayerKind

  public init(_ kind: any LayerKind) { self.kind = kind }

  public static func == (a: Self, b: Self) -> Bool { AnyHashable(a.kind) == AnyHashable(b.kind) }
  public func hash(into hasher: inout Hasher) { hasher.combine(AnyHashable(kind)) }
}

/// The kinds of layer beside the library's that files and settings may name. A file can't name what the program hasn't
/// registered.
public enum LayerRegistry {
  private static let kinds = Mutex<[String: any LayerKind.Type]>([:])

  /// Makes a kind known by its name, which must not be that of a layer of the library's or of another kind.
  public static func register(_ kind: any LayerKind.Type) {
    precondition(!LayerSpec.names.contains(kind.name), "\(kind.name) is a layer of the library's")
    kinds.withLock { kinds in
      precondition(kinds[kind.name].map { $0 == kind } ?? true, "another layer is registered as \(kind.name)")
      kinds[kind.name] = kind
    }
  }

  static func kind(named name: String) -> (any LayerKind.Type)? { kinds.withLock { $0[name] } }

  /// All registered names, in order.
  static var names: [String] { kinds.withLock { $0.keys.sorted() } }
}
