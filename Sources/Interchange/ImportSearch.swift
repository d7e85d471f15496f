import AIPOFlows
import AIPOKernels

/// The settings of an import: what was given, what the file tells, and for the rest what images say, or an assumption.
struct ImportSearch {
  private let work: ImportWork
  private(set) var choices = ImportChoices()
  /// How each setting came about.
  private var reasons: [ImportOption: String] = [:]
  /// Settings that images may decide.
  private var open: [OpenSetting] = []

  private static let assumed = "assumed"

  /// Given, told, or assumed.
  init(_ work: ImportWork) throws(ImportError) {
    self.work = work
    let told = Self.told(work)
    for setting in work.dialect.openSettings {
      let option = setting.option
      if let value = work.given[option] {
        guard setting.allowed.contains(value) else {
          throw ImportError(
            description: "option \(option.rawValue) is \(value), expected \(setting.allowed.text)")
        }
        choices[option] = value
        reasons[option] = "given"
      } else {
        let told = told[option]
        choices[option] = told?.value ?? setting.values.first ?? "0"
        reasons[option] = told?.reason ?? Self.assumed
        if told?.isCertain != true { open.append(setting) }
      }
    }
  }

  /// What the file says itself of a setting, or what its form suggests.
  private static func told(
    _ work: ImportWork
  ) -> [ImportOption: (value: String, reason: String, isCertain: Bool)] {
    guard work.dialect == .normflows else { return [.range: ("centered", "as the dialect has it", true)] }
    let listed = "told by the file's list of modules"
    if work.isVector {
      let swaps = FlowMapping<Double>.toldSwaps(work.dict)
      return [
        .scaleMap: ("exp", assumed, false),
        .permutation: (swaps.value.rawValue, swaps.isCertain ? listed : assumed, swaps.isCertain),
      ]
    }
    guard let modules = work.dict.modules else { return [:] }
    // Its kind isn't told: a Logit, or a Shift.
    return modules.contains("transform")
      ? [.transform: ("logit", "assumed, as the model has a transform", false)] : [:]
  }

  /// A model with some choices.
  struct Candidate {
    /// What it depends on.
    var used: Set<ImportOption>
    var classes: Int?
    /// The mean log p of so many images at most.
    var meanLogProb: (_ images: Int) throws -> Double
  }

  /// Tries all combinations of the open settings' values, but those of fine ones each by itself afterwards, and takes what
  /// makes the images most probable; of what is about as good, what changes least of the assumptions.
  mutating func settle(_ images: TrainingImages, _ candidate: (ImportChoices) throws -> Candidate) throws {
    let margin = Self.marginPerValue * Double(images.shape.count)
    let used = try candidate(choices).used
    let joint = open.filter { !$0.isFine && used.contains($0.option) && $0.values.count > 1 }
    try choose(
      joint, among: Self.combinations(of: joint.map { ($0.option, $0.values) }, from: choices), margin,
      candidate)
    // What they depend on is known only now.
    for setting in open where setting.isFine {
      let current = try candidate(choices)
      guard current.used.contains(setting.option) else { continue }
      let values =
        setting.option == .class ? (0..<min(current.classes ?? 1, 1000)).map(String.init) : setting.values
      try choose(
        [setting], among: Self.combinations(of: [(setting.option, values)], from: choices), margin, candidate)
    }
  }

  private static func combinations(
    of settings: [(option: ImportOption, values: [String])], from start: ImportChoices
  ) -> [ImportChoices] {
    settings.reduce([start]) { all, setting in
      all.flatMap { choices in
        setting.values.map { value in
          var next = choices
          next[setting.option] = value
          return next
        }
      }
    }
  }

  /// Images that all candidates are tried on, and those that the best of them are.
  private static let (few, many, finalists) = (8, 64, 4)
  /// Nats a value that a setting must gain to be taken in place of what is assumed. Of a trained model a wrong setting
  /// costs more; where all cost less, the images don't tell.
  private static let marginPerValue = 0.05

  private typealias Trial = (choices: ImportChoices, value: Double)

  private mutating func choose(
    _ settings: [OpenSetting], among all: [ImportChoices], _ margin: Double,
    _ candidate: (ImportChoices) throws -> Candidate
  ) throws {
    guard !settings.isEmpty, all.count > 1 else { return }
    let start = choices
    func changes(_ trial: Trial) -> Int { settings.count { trial.choices[$0.option] != start[$0.option] } }
    func tried(_ some: [ImportChoices], on images: Int) throws -> [Trial] {
      try some.map { choices in
        let value = try candidate(choices).meanLogProb(images)
        return (choices, value.isFinite ? value : -.infinity)
      }.sorted { $0.value > $1.value }
    }
    /// What is about as good as the best, with the fewest changes first.
    func near(_ trials: [Trial]) -> [Trial] {
      trials.filter { $0.value >= trials[0].value - margin }.sorted {
        (changes($0), -$0.value) < (changes($1), -$1.value)
      }
    }
    let first = try tried(all.filter { Self.isPossible($0) }, on: Self.few)
    var some: [ImportChoices] = []
    for trial in first.prefix(Self.finalists) + near(first).prefix(Self.finalists)
    where !some.contains(trial.choices) { some.append(trial.choices) }
    let last = try tried(some, on: Self.many)
    guard let best = last.first, best.value > -.infinity else {
      let names = settings.map(\.option.rawValue).joined(separator: ", ")
      throw work.dict.source.malformed(
        "log p of the images", "not finite whatever \(names)", "a density for one of them")
    }
    let taken = near(last)[0]
    func words(_ trial: Trial) -> String {
      "\(Self.text(trial.value)) with \(settings.map { trial.choices[$0.option] }.joined(separator: " "))"
    }
    choices = taken.choices
    var reason = "chosen by log p on the images: \(Self.text(taken.value))"
    if taken.choices != best.choices {
      reason += ", about as good as \(words(best)), which changes more of what is assumed"
    } else if last.count > 1 {
      reason += ", next \(words(last[1]))"
    }
    for setting in settings { reasons[setting.option] = reason }
  }

  private static func text(_ value: Double) -> String {
    value.isFinite ? "\((value * 1000).rounded() / 1000)" : "not finite"
  }

  /// A logit takes pixels on [0, 1].
  private static func isPossible(_ choices: ImportChoices) -> Bool {
    choices[.transform] != "logit" || choices[.range] == "unit"
  }

  /// All settings that were given or that the model depends on.
  func settings(used: Set<ImportOption>) -> [ModelImport.Setting] {
    work.dialect.openSettings.compactMap { setting in
      let option = setting.option
      guard used.contains(option) || work.given[option] != nil else { return nil }
      let unused = used.contains(option) ? "" : ", but nothing in this file depends on it"
      return ModelImport.Setting(
        option: option.rawValue, value: choices[option], reason: reasons[option]! + unused,
        isOpen: open.contains { $0.option == option })
    }
  }
}
