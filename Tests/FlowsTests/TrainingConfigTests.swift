import AIPOKernels
import Testing

@testable import AIPOFlows

@Suite struct TrainingConfigTests {
  @Test func readsEveryKeyAndWritesItBack() throws {
    let yaml = """
      flow:
        base: learned-gaussian
        glow: {levels: 2, steps: 3, hidden: 16}
      seed: 18446744073709551615
      precision: float64
      bits: 8
      steps: 1_000
      rate: 2e-4
      decay: {shape: linear, fraction: 0, final: 1}
      adam:
        beta1: 0.5
      augmentation: {flip: true, shift: 2}
      about:
        name: "a: \\"b\\""
      data: {images: 'x.gz', resize: 32x16}
      """
    let config = try TrainingConfig(yaml: yaml, path: "c.yaml")
    #expect(config.flow == .glow(levels: 2, steps: 3, hidden: 16, base: .learnedGaussian))
    #expect(config.seed == .max && config.precision == .float64 && config.dequantization.bits == 8)
    #expect(config.steps == 1000 && config.rate.peak == 2e-4 && config.rate.decayShape == .linear)
    #expect(config.adam == Adam(beta1: 0.5) && config.augmentation == Augmentation(flip: true, shift: 2))
    #expect(config.about.name == "a: \"b\"" && config.data.resize == "32x16")
    for explained in [false, true] {
      #expect(
        try TrainingConfig(yaml: config.yaml(explained: explained, data: true), path: "again") == config)
    }
    #expect(!config.yaml().contains("x.gz"))
    let json = #"{"seed": 4, "flow": {"layers": ["actnorm"]}, "decay": {"shape": "cosine"}}"#
    #expect(try TrainingConfig(yaml: json, path: "c.json").seed == 4)
  }

  /// As editors on Windows write it: a byte order mark, and two characters at a line's end.
  @Test func marksAndLineEndsOfWindowsAreRead() throws {
    let yaml = "\u{FEFF}seed: 7\r\ndecay: {shape: linear}\r\nabout:\r\n  name: two\r\n"
    let config = try TrainingConfig(yaml: yaml, path: "c.yaml")
    #expect(config.seed == 7 && config.rate.decayShape == .linear && config.about.name == "two")
    #expect(try TrainingConfig(yaml: "\u{FEFF}{\"seed\": 4}", path: "c.json").seed == 4)
    let error = #expect(throws: ConfigError.self) {
      try TrainingConfig(yaml: "\u{FEFF}seed: 7\r\n\r\nstepz: 3\r\n", path: "c.yaml")
    }
    #expect(error?.line == 3)
  }

  @Test func otherImagesDoNotInheritWhatAFileSaysOfItsOwn() throws {
    let yaml = "data: {images: a, test: b, resize: 8x8}\nabout: {name: n, provenance: p, licence: l}"
    var config = try TrainingConfig(yaml: yaml, path: "c.yaml")
    config.replaceImages(with: "a")
    #expect(config.data.test == "b" && config.about.name == "n")
    config.replaceImages(with: "mine")
    #expect(config.data.images == "mine" && config.data.test.isEmpty && config.data.resize == "8x8")
    #expect(config.about == TrainingConfig.About())
    var own = try TrainingConfig(yaml: "about: {name: n}\ndata: {test: t}", path: "c.yaml")
    own.replaceImages(with: "mine")
    #expect(own.about.name == "n" && own.data.test == "t")
  }

  /// Nine aliases of nine aliases and so on would be a list of 9⁹ values.
  @Test func aliasesOfAliasesAreRefused() throws {
    let lists = (1...9).map {
      "a\($0): &a\($0) [\(Array(repeating: "*a\($0 - 1)", count: 9).joined(separator: ", "))]"
    }
    let error = #expect(throws: ConfigError.self) {
      try TrainingConfig(yaml: "a0: &a0 1\n" + lists.joined(separator: "\n"), path: "laughs")
    }
    #expect(error?.description.contains("aliases") == true)
    #expect(try TrainingConfig(yaml: "seed: &n 7\nsteps: *n", path: "few").steps == 7)
  }

  @Test func explainedDefaultsReadBackAsDefaults() throws {
    let text = TrainingConfig().yaml(explained: true, data: true)
    #expect(try TrainingConfig(yaml: text, path: "defaults") == TrainingConfig())
    for line in text.split(separator: "\n") where !line.hasSuffix(":") {
      #expect(line.contains("# "), "\(line)")
    }
    for key in ConfigKey.all { #expect(!key.explanation.isEmpty) }
  }

  /// A file, the line and the key that the error must name.
  static let wrong: [(yaml: String, line: Int?, key: String)] = [
    ("", 1, ""),
    ("# nothing\n", 1, ""),
    ("just words", 1, ""),
    ("- a\n- b", 1, ""),
    ("seed: 1\nstepz: 5\n", 2, "stepz"),
    ("seed: 1\nsteps: five\n", 2, "steps"),
    ("seed: 1\nsteps: 0\n", 2, "steps"),
    ("steps: 1.5", 1, "steps"),
    ("steps: '5'", 1, "steps"),
    ("steps:\n", 1, "steps"),
    ("steps: [1]", 1, "steps"),
    ("seed: -1", 1, "seed"),
    ("rate: nan", 1, "rate"),
    ("rate: 0", 1, "rate"),
    ("rate: 1e400", 1, "rate"),
    ("ema: 1", 1, "ema"),
    ("bits: 9", 1, "bits"),
    ("precision: float16", 1, "precision"),
    ("\nvalidation:\n  images: 5\n  evry: 3\n", 4, "validation.evry"),
    ("validation: 5", 1, "validation"),
    ("augmentation:\n  flip: yes please\n", 2, "augmentation.flip"),
    ("data:\n  resize: 5\n", 2, "data.resize"),
    ("decay:\n  shape: round", 2, "decay.shape"),
    ("seed: 1\nseed: 2", 1, ""),
    ("seed: 1\n  steps: 2", 2, ""),
    ("seed: [1", nil, ""),
    ("seed: \"1", nil, ""),
    ("flow: glow", 1, "flow"),
    ("flow:\n  glow: {levels: 2, steps: 3}\n", 2, "flow.glow"),
    ("flow:\n  glow:\n    levels: two\n    steps: 3\n    hidden: 4\n", 3, "flow.glow.levels"),
    ("flow:\n  glow:\n    levels: 2\n    stepz: 3\n", 4, "flow.glow.stepz"),
    ("flow:\n  layers:\n    - actnorm\n    - twist\n", 4, "flow.layers.1"),
    (
      "flow:\n  layers:\n    - coupling:\n        net: {hidden: 3, kind: big}\n", 4,
      "flow.layers.0.coupling.net.kind"
    ),
  ]

  @Test(arguments: 0..<wrong.count) func errorNamesLineAndKey(k: Int) throws {
    let (yaml, line, key) = Self.wrong[k]
    let error = #expect(throws: ConfigError.self, "\(yaml)") {
      try TrainingConfig(yaml: yaml, path: "c.yaml")
    }
    let found = try #require(error)
    if let line { #expect(found.line == line, "\(yaml): \(found)") }
    #expect(found.line != nil, "\(found)")
    #expect(found.key == key, "\(found)")
    #expect(!found.description.contains("\n"))
  }

  /// What somebody gets wrong, and what they read.
  static let told: [(yaml: String, text: String)] = [
    ("stepz: 5", "line 1: stepz: found an unknown key, expected one of"),
    ("stepz: 5", "; did you mean steps?"),
    ("seed: 1\nlog_every: 3", "; did you mean log-every?"),
    ("flip: true", "; did you mean augmentation.flip?"),
    (
      "validation: {evry: 3}",
      "line 1: validation.evry: found an unknown key, expected one of every, images; did you mean validation.every?"
    ),
    ("frobnicate: 3", "steps, stride, validation, warmup"),
    ("validation: 0.1", "line 1: validation: found \"0.1\", expected keys and values: images, every"),
    (
      "validation:\n  images: most",
      "line 2: validation.images: found most, expected a number of images, a share"
    ),
    ("patch: big", "line 1: patch: found big, expected HxW, as 32x32, or none"),
    (
      "flow:\n  glow: {levels: 2, stepz: 3, hidden: 4}",
      "line 2: flow.glow.stepz: found an unknown key, expected one of levels, steps, hidden, matrix"
    ),
    ("flow:\n  layers: [actnorm, actnrm]", "found the unknown layer actnrm, expected one of actnorm,"),
    ("flow:\n  layers: [actnorm, actnrm]", "; did you mean actnorm?"),
    (
      "flow:\n  layers:\n    - coupling: {net: {hidden: 3, activation: rleu}}",
      "line 3: flow.layers.0.coupling.net.activation: found \"rleu\", expected one of relu, "
    ),
    ("about: {name: a: b}", "line 1: found"),
    ("seed: 1\nname: x: y", "line 2: found a second \": \", expected"),
    ("seed: [1", "found a list that isn't closed, expected well-formed YAML, here ',' or ']'"),
    ("seed: 1\n\trate: 2", "line 2: found"), ("seed: \"1", "found a quote that isn't closed"),
    ("seed: 1\nseed: 2", "found the key seed twice, expected well-formed YAML, here every key once"),
  ]

  @Test(arguments: 0..<told.count) func errorsAreSentences(k: Int) throws {
    let (yaml, text) = Self.told[k]
    let error = #expect(throws: ConfigError.self) { try TrainingConfig(yaml: yaml, path: "c.yaml") }
    let found = try #require(error).description
    #expect(found.hasPrefix("c.yaml: line ") && found.contains(text), "\(found)")
  }

  @Test func theNearestNameIsOneThatCouldBeMeant() {
    let names = ["steps", "batch", "rate", "log-every", "checkpoint-every", "clip"]
    for (word, nearest) in [
      ("stesp", "steps"), ("Batch", "batch"), ("log_every", "log-every"), ("rates", "rate"), ("lcip", "clip"),
      ("checkpointevery", "checkpoint-every"), ("x", nil), ("frobnicate", nil), ("", nil),
    ] as [(String, String?)] {
      #expect(NearestName.of(word, in: names) == nearest, "\(word)")
    }
  }

  @Test func flagsAreCheckedAsTheFileIs() throws {
    var config = TrainingConfig()
    try config.set("steps", to: "12", flag: "--steps")
    #expect(config.steps == 12)
    #expect(throws: ConfigError.self) { try config.set("rate", to: "fast", flag: "--rate") }
    #expect(config.rate.peak == 1e-3)
  }
}
