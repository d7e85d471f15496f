/// A value of a pickle. Containers are numbers of an arena's places, so that a reference to itself is no cycle in memory
/// and no depth of nesting is a depth of recursion.
enum PickleValue {
  case none
  case bool(Bool)
  case int(Int)
  case float(Double)
  case string(String)
  case bytes
  case container(Int)
  case global(PickleGlobal)
  case storage(TorchStorageReference)
  case tensor(TorchTensor)
  /// What some class or function of another program would have made of it: never made, only named.
  case opaque(String)

  var kind: String {
    switch self {
    case .none: "None"
    case .bool: "a truth value"
    case .int: "an integer"
    case .float: "a number"
    case .string: "a string"
    case .bytes: "bytes"
    case .container: "a container"
    case .global(let global): global.rawValue
    case .storage: "a storage"
    case .tensor: "a tensor"
    case .opaque(let name): "a value of \(name)"
    }
  }
}

/// A container in the arena.
enum PickleContainer {
  case list([PickleValue])
  case tuple([PickleValue])
  /// Keys are strings or integers, written as strings, in the order in which they came.
  case dictionary([(key: String, value: PickleValue)])
}

/// The only names of a pickle that mean something here; what is made by any other is an opaque value.
enum PickleGlobal: String {
  case orderedDictionary = "collections.OrderedDict"
  case rebuildTensor = "torch._utils._rebuild_tensor_v2"
  case rebuildParameter = "torch._utils._rebuild_parameter"
  case rebuildParameterWithState = "torch._utils._rebuild_parameter_with_state"
  case float = "torch.FloatStorage"
  case double = "torch.DoubleStorage"
  case half = "torch.HalfStorage"
  case bfloat16 = "torch.BFloat16Storage"
  case long = "torch.LongStorage"
  case int = "torch.IntStorage"
  case short = "torch.ShortStorage"
  case char = "torch.CharStorage"
  case byte = "torch.ByteStorage"
  case bool = "torch.BoolStorage"

  var element: TorchElement? {
    switch self {
    case .orderedDictionary, .rebuildTensor, .rebuildParameter, .rebuildParameterWithState: nil
    case .float: .float32
    case .double: .float64
    case .half: .float16
    case .bfloat16: .bfloat16
    case .long: .int64
    case .int: .int32
    case .short: .int16
    case .char: .int8
    case .byte: .uint8
    case .bool: .bool
    }
  }
}

/// Types of elements in torch's storages.
enum TorchElement: Sendable {
  case float16, bfloat16, float32, float64, int8, int16, int32, int64, uint8, bool

  var size: Int {
    switch self {
    case .int8, .uint8, .bool: 1
    case .float16, .bfloat16, .int16: 2
    case .float32, .int32: 4
    case .float64, .int64: 8
    }
  }
}

/// Where a storage's bytes are to be found: its key, and what the pickle says of it.
struct TorchStorageReference: Sendable {
  var key: String
  var element: TorchElement
  /// Elements.
  var count: Int
}

/// A view into a storage, checked to lie inside it.
struct TorchTensor: Sendable {
  var storage: TorchStorageReference
  var offset: Int
  var shape: [Int]
  var strides: [Int]

  var count: Int { shape.reduce(1, *) }
}

/// What is wrong with a pickle; the file's name is added by who reads it.
struct PickleFault: Error {
  var what: String
  var found: String
  var expected: String
}
