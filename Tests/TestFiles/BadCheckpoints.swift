/// Checkpoints of other programs, as `import` reads them.
extension BadFile {
  package static let checkpoints = pickles + zips + others

  private static let data = TestFiles.floats([1, 2, 3, 4])
  private static let row = TestFiles.tensor(TestFiles.storage("0", count: 4), shape: [1, 4])
  private static let good = TestFiles.tensor(TestFiles.storage("0", count: 4), shape: [2, 2])

  /// A checkpoint with this pickle body and a storage of four floats.
  private static func pickle(_ name: String, _ body: [UInt8], _ says: String) -> Self {
    Self(name, TestFiles.checkpoint(TestFiles.pickle(body), ["0": data]), says)
  }

  private static func tensor(_ name: String, _ tensor: [UInt8], _ says: String) -> Self {
    pickle(name, TestFiles.dictionary([("a", tensor)]), says)
  }

  private static let pickles: [Self] = [
    pickle(
      "a call of os.system", TestFiles.global("os", "system") + TestFiles.text("true") + [0x85, 0x52],
      "os.system"),
    pickle(
      "builtins.eval by stack", TestFiles.text("builtins") + TestFiles.text("eval") + [0x93], "builtins.eval"),
    pickle("a class of one's own", TestFiles.global("__main__", "Model") + [0x29, 0x81], "__main__.Model"),
    pickle(
      "argparse alone",
      TestFiles.dictionary([("args", TestFiles.global("argparse", "Namespace") + [0x29, 0x52])]),
      "argparse.Namespace"),
    pickle("a tensor alone", good, "one tensor of shape [2, 2]"),
    pickle(
      "an optimiser's state",
      TestFiles.dictionary([
        ("state", TestFiles.dictionary([("0", TestFiles.dictionary([("exp_avg", good)]))])),
        ("param_groups", [0x5D]),
      ]), "an optimiser's state"),
    pickle(
      "a tensor that a class of one's own makes",
      TestFiles.dictionary([
        ("q0.loc", row),
        ("q0.log_scale", TestFiles.global("mine", "tensor") + TestFiles.tuple([good]) + [0x52]),
      ]), "mine.tensor, which isn't read"),
    pickle("ADDITEMS to a list", [0x5D, 0x28, 0x4E, 0x90], "ADDITEMS"),
    pickle("INST", [0x28] + Array("ios\nsystem\n".utf8), "INST"),
    pickle("extension registry", [0x82, 1], "EXT1"),
    pickle("an opcode that isn't one", [0xFF], "0xff"),
    pickle(
      "a global as a call's argument", TestFiles.global("torch", "FloatStorage") + [0x29, 0x52], "call"),
    pickle("BUILD on a list", [0x5D, 0x7D, 0x62], "BUILD"),
    pickle("a list inside itself", [0x5D, 0x71, 0, 0x68, 0, 0x61], "inside itself"),
    pickle(
      "a dictionary inside itself", [0x7D, 0x71, 0] + TestFiles.text("a") + [0x68, 0, 0x73], "inside itself"),
    pickle(
      "two dictionaries inside each other",
      [0x7D, 0x71, 0] + TestFiles.text("a") + [0x7D, 0x71, 1] + TestFiles.text("b") + [0x68, 0, 0x73, 0x73],
      "without a dictionary of tensors"),
    pickle("a memo entry that isn't there", [0x68, 9], "memo"),
    pickle("an empty stack", [0x61], "stack"),
    pickle("a mark that isn't there", [0x74], "stack"),
    pickle("two values at the end", [0x4E, 0x4E], "2 values"),
    pickle("a string longer than the file", [0x58, 0xFF, 0xFF, 0xFF, 0x7F], "length"),
    pickle("a string of 2^63 bytes", [0x8D] + [UInt8](repeating: 0xFF, count: 8), "2^63"),
    pickle("a string that isn't UTF-8", [0x58, 1, 0, 0, 0, 0xFF], "UTF-8"),
    pickle("an integer of 100 bytes alone", [0x8A, 100] + [UInt8](repeating: 1, count: 100), "state dict"),
    pickle("an integer longer than the file", [0x8B, 0xFF, 0xFF, 0xFF, 0x7F], "length"),
    pickle("protocol 9", [0x80, 9], "protocol"),
    Self("a pickle without its end", TestFiles.checkpoint([0x80, 2, 0x7D], ["0": data]), "cut off"),
    pickle("a number alone", TestFiles.integer(3), "state dict"),
    pickle("an empty dictionary", TestFiles.ordered, "state dict"),
    pickle("a name twice", TestFiles.dictionary([("a", good), ("a", good)]), "twice"),
    pickle("a key that is a list", [0x7D, 0x5D, 0x4E, 0x73], "key of a dictionary"),
    pickle(
      "two state dicts",
      TestFiles.dictionary([
        ("net", TestFiles.dictionary([("a", good)])), ("other", TestFiles.dictionary([("a", good)])),
      ]), "state-dict=KEY"),
    tensor(
      "an offset outside", TestFiles.tensor(TestFiles.storage("0", count: 4), offset: 1, shape: [2, 2]),
      "inside its storage"),
    tensor(
      "an offset below zero", TestFiles.tensor(TestFiles.storage("0", count: 4), offset: -1, shape: [2]),
      "2^63"),
    tensor(
      "a stride outside", TestFiles.tensor(TestFiles.storage("0", count: 4), shape: [2], strides: [4]),
      "inside its storage"),
    tensor(
      "a stride below zero", TestFiles.tensor(TestFiles.storage("0", count: 4), shape: [2], strides: [-1]),
      "below zero"),
    tensor(
      "a stride of zero that swells",
      TestFiles.tensor(TestFiles.storage("0", count: 4), shape: [1 << 40], strides: [0]), "inside its storage"
    ),
    tensor(
      "a shape of 2^63",
      TestFiles.tensor(TestFiles.storage("0", count: 4), shape: [1 << 62, 4], strides: [0, 0]), "2^63"),
    tensor(
      "an extent below zero", TestFiles.tensor(TestFiles.storage("0", count: 4), shape: [-2, -2]),
      "below zero"),
    tensor(
      "more strides than extents",
      TestFiles.tensor(TestFiles.storage("0", count: 4), shape: [2], strides: [1, 1]), "strides"),
    tensor(
      "a storage larger than its entry", TestFiles.tensor(TestFiles.storage("0", count: 1 << 40), shape: [4]),
      "data/0"),
    tensor(
      "a storage of another type",
      TestFiles.tensor(TestFiles.storage("0", "DoubleStorage", count: 4), shape: [4]), "16 bytes"),
    tensor(
      "a storage that isn't there", TestFiles.tensor(TestFiles.storage("7", count: 4), shape: [4]), "data/7"),
    tensor(
      "a key with a path", TestFiles.tensor(TestFiles.storage("../../etc/passwd", count: 4), shape: [4]),
      "missing"),
    pickle(
      "a quantised storage",
      TestFiles.dictionary([
        ("q0.loc", row),
        ("q0.log_scale", TestFiles.tensor(TestFiles.storage("0", "QInt8Storage", count: 4), shape: [4])),
      ]), "QInt8Storage"),
    pickle(
      "a storage of two sizes",
      TestFiles.dictionary([
        ("a", good), ("b", TestFiles.tensor(TestFiles.storage("0", count: 3), shape: [3])),
      ]), "two types or sizes"),
    Self(
      "views that claim many times the file",
      TestFiles.checkpoint(
        TestFiles.pickle(
          TestFiles.dictionary(
            [("x", TestFiles.tensor(TestFiles.storage("0", count: 4000), shape: [4000]) + [0x71, 1])]
              + (0..<400).map { ("\($0)", [0x68, 1]) })),
        ["0": [UInt8](repeating: 0, count: 16000)]), "four times"),
    tensor("tensors of no known dialect", good, "no known dialect"),
    pickle(
      "one list made into dictionaries again and again",
      [0x5D, 0x71, 0, 0x28]
        + (0..<500).flatMap { TestFiles.tuple([TestFiles.text("\($0)"), TestFiles.integer(0)]) } + [0x65]
        + (0..<500).flatMap { _ in
          TestFiles.global("collections", "OrderedDict") + [0x68, 0, 0x85, 0x52]
        }, "one a byte"),
    pickle(
      "a thousand names for each of five dictionaries inside each other",
      (1...4).reduce([0x7D, 0x71, 0]) { inner, level in
        [0x7D, 0x71, UInt8(level)] + TestFiles.text("0") + inner + [0x73, 0x28]
          + (1..<1000).flatMap { TestFiles.text("\($0)") + [0x68, UInt8(level - 1)] } + [0x75]
      }, "without a dictionary of tensors"),
    tensor(
      "a tensor of 17 axes",
      TestFiles.tensor(TestFiles.storage("0", count: 4), shape: [Int](repeating: 1, count: 17)), "16 axes"),
    Self(
      "a storage of zeros, deflated",
      TestFiles.zip([
        .init(
          name: "m/data.pkl",
          bytes: TestFiles.pickle(
            TestFiles.dictionary([("a", TestFiles.tensor(TestFiles.storage("0", count: 1 << 18), shape: [1]))]
            ))),
        .init(name: "m/data/0", bytes: [UInt8](repeating: 0, count: 1 << 20), deflated: true),
      ]), "four times"),
  ]

  private static func zip(_ name: String, _ entries: [TestFiles.Entry], _ says: String, count: Int? = nil)
    -> Self
  {
    Self(name, TestFiles.zip(entries, count: count), says)
  }

  private static let model = TestFiles.pickle(TestFiles.dictionary([("a", good)]))
  private static let pkl = TestFiles.Entry(name: "m/data.pkl", bytes: model)

  private static let zips: [Self] = [
    zip("no pickle", [.init(name: "m/data/0", bytes: data)], "data.pkl"),
    zip("two pickles", [pkl, .init(name: "n/data.pkl", bytes: model)], "2 entries data.pkl"),
    zip("a TorchScript program", [pkl, .init(name: "m/constants.pkl", bytes: [])], "TorchScript"),
    zip("big-endian", [pkl, .init(name: "m/byteorder", bytes: Array("big".utf8))], "byte order"),
    zip("a name twice", [pkl, pkl], "twice"),
    zip("a path upwards", [.init(name: "../data.pkl", bytes: model)], "../data.pkl"),
    zip("an absolute path", [.init(name: "/m/data.pkl", bytes: model)], "inside the archive"),
    zip("a drive", [.init(name: "C:data.pkl", bytes: model)], "inside the archive"),
    zip(
      "another name in the local header", [.init(name: "m/data.pkl", bytes: model, localName: "n/data.pkl")],
      "local header"),
    zip("encryption", [.init(name: "m/data.pkl", bytes: model, flags: 1)], "encryption"),
    zip("another method", [.init(name: "m/data.pkl", bytes: model, method: 12)], "method"),
    zip("a wrong checksum", [.init(name: "m/data.pkl", bytes: model, checksum: 7)], "checksum"),
    zip(
      "overlapping entries",
      [pkl, .init(name: "m/data.pkl2", bytes: model, localName: "m/data.pkl", offset: 0)], "local header"),
    zip("an offset outside", [.init(name: "m/data.pkl", bytes: model, offset: 1 << 30)], "place"),
    zip("an offset at nothing", [.init(name: "m/data.pkl", bytes: model, offset: 3)], "place"),
    zip(
      "a stored entry of another size", [.init(name: "m/data.pkl", bytes: model, size: model.count + 1)],
      "size"),
    zip(
      "an entry longer than the file",
      [.init(name: "m/data.pkl", bytes: model, size: 1 << 30, packedSize: 1 << 30)], "place"),
    zip(
      "a bomb by its header",
      [.init(name: "m/data.pkl", bytes: [0x2E], deflated: true, size: 1 << 31)], "size"),
    zip(
      "a bomb beyond its header",
      [.init(name: "m/data.pkl", bytes: [UInt8](repeating: 0x4E, count: 1 << 20), deflated: true, size: 100)],
      "more than its 100 bytes"),
    zip(
      "a bomb of a pickle",
      [.init(name: "m/data.pkl", bytes: [UInt8](repeating: 0x4E, count: 65 << 20), deflated: true)], "at most"
    ),
    zip("a damaged stream", [.init(name: "m/data.pkl", bytes: model, method: 8)], "m/data.pkl"),
    zip("more entries than there are", [pkl], "directory", count: 9),
    zip("entries without end", [pkl], "directory", count: 0xFFFE),
    Self("only an end record", TestFiles.zip([]), "data.pkl"),
    Self("the first half", Array(TestFiles.zip([pkl]).prefix(40)), "end record"),
    Self("a beginning alone", [0x50, 0x4B, 3, 4], "end record"),
    zip(
      "weights that aren't numbers",
      [
        .init(
          name: "m/data.pkl",
          bytes: TestFiles.pickle(
            TestFiles.dictionary([
              ("q0.loc", TestFiles.tensor(TestFiles.storage("0", count: 4), shape: [1, 4])),
              ("q0.log_scale", TestFiles.tensor(TestFiles.storage("0", count: 4), shape: [1, 4])),
            ]))), .init(name: "m/data/0", bytes: TestFiles.floats([1, .nan, 2, 3])),
      ], "q0.loc is not finite"),
  ]

  private static func safetensors(_ name: String, _ header: String, _ data: Int, _ says: String) -> Self {
    let bytes = Array(header.utf8)
    return Self(
      name, TestFiles.word(bytes.count) + TestFiles.word(0) + bytes + [UInt8](repeating: 0, count: data), says
    )
  }

  private static let legacyHead: [UInt8] =
    [0x80, 2, 0x8A, 10, 0x6C, 0xFC, 0x9C, 0x46, 0xF9, 0x20, 0x6A, 0xA8, 0x50, 0x19, 0x2E]
    + [0x80, 2, 0x4D, 0xE9, 0x03, 0x2E]

  private static func legacy(_ name: String, _ rest: [UInt8], _ says: String) -> Self {
    Self(name, legacyHead + rest, says)
  }

  private static let system = TestFiles.pickle([0x7D] + TestFiles.text("little_endian") + [0x88, 0x73])
  private static let keys = TestFiles.pickle([0x5D] + TestFiles.text("0") + [0x61])

  private static let others: [Self] = [
    Self("an empty file", [], "empty"),
    Self("something else", Array("PNG, say, but longer".utf8), "unknown format"),
    safetensors("no tensors", "{}", 0, "no known dialect"),
    safetensors(
      "a shape of 2^63", #"{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,4]}}"#, 4,
      "shape"),
    safetensors(
      "data behind the end", #"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, 4, "end of tensor"),
    safetensors(
      "a name twice",
      #"{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[],"data_offsets":[4,8]}}"#,
      8, "twice"),
    safetensors(
      "overlapping tensors",
      #"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#,
      12, "begin of tensor"),
    safetensors(
      "a type that isn't known", #"{"a":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}"#, 1, "dtype"),
    safetensors(
      "a step of a flow alone",
      #"{"blocks.0.flows.0.actnorm.loc":{"dtype":"F32","shape":[1,4,1,1],"data_offsets":[0,16]}}"#, 16,
      "missing"),
    safetensors(
      "a gap in the blocks",
      #"{"blocks.1.flows.0.actnorm.loc":{"dtype":"F32","shape":[1,4,1,1],"data_offsets":[0,16]}}"#, 16,
      "without a gap"),
    safetensors(
      "blocks without a number", #"{"blocks.x":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#, 16,
      "without a number"),
    safetensors(
      "three channels before the flow",
      #"{"blocks.0.flows.0.actnorm.loc":{"dtype":"F32","shape":[1,3,1,1],"data_offsets":[0,12]}}"#, 12,
      "multiple of 4"),
    safetensors(
      "modules that don't start with a squeeze",
      #"{"glow_modules.0.actnorm.b":{"dtype":"F32","shape":[1,4,1,1],"data_offsets":[0,16]}}"#, 16,
      "behind a squeeze"),
    safetensors(
      "levels of different lengths",
      #"{"glow_modules.1.actnorm.b":{"dtype":"F32","shape":[1,4,1,1],"data_offsets":[0,16]},"glow_modules.9.actnorm.b":{"dtype":"F32","shape":[1,4,1,1],"data_offsets":[16,32]}}"#,
      32, "levels"),
    safetensors(
      "a vector flow without its base's scale",
      #"{"q0.loc":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}"#, 8, "q0.log_scale is missing"),
    safetensors(
      "a vector flow of an unknown layer",
      #"{"flows.0.zeta":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},"q0.loc":{"dtype":"F32","shape":[1,2],"data_offsets":[8,16]}}"#,
      16, "unknown kind"),
    safetensors(
      "a tensor too many",
      #"{"extra":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"q0.loc":{"dtype":"F32","shape":[1,1],"data_offsets":[4,8]},"q0.log_scale":{"dtype":"F32","shape":[1,1],"data_offsets":[8,12]}}"#,
      12, "extra"),
    safetensors(
      "a base of another length",
      #"{"q0.loc":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},"q0.log_scale":{"dtype":"F32","shape":[1,3],"data_offsets":[8,20]}}"#,
      20, "q0.log_scale"),
    legacy("a legacy stream cut off", [], "cut off"),
    legacy(
      "a big-endian legacy stream",
      TestFiles.pickle([0x7D] + TestFiles.text("little_endian") + [0x89, 0x73]), "little-endian"),
    legacy(
      "legacy storages cut off",
      system + TestFiles.pickle(TestFiles.dictionary([("a", good)])) + keys + TestFiles.word(4)
        + TestFiles.word(0),
      "cut off"),
    legacy(
      "a legacy storage of another count",
      system + TestFiles.pickle(TestFiles.dictionary([("a", good)])) + keys + TestFiles.word(5)
        + TestFiles.word(0)
        + [UInt8](repeating: 0, count: 20), "count of storage 0"),
    legacy(
      "a legacy count of 2^63",
      system + TestFiles.pickle(TestFiles.dictionary([("a", good)])) + keys + TestFiles.word(0)
        + TestFiles.word(1 << 31) + [UInt8](repeating: 0, count: 20), "count of storage 0"),
    legacy(
      "a legacy storage that isn't listed",
      system + TestFiles.pickle(TestFiles.dictionary([("a", good)])) + TestFiles.pickle([0x5D]), "storage 0"),
    legacy(
      "a legacy storage of no tensor",
      system + TestFiles.pickle(TestFiles.dictionary([("a", good)]))
        + TestFiles.pickle([0x5D] + TestFiles.text("9") + [0x61]), "storage 9"),
  ]
}
