import AIPOKernels

/// A key of the training's YAML: how it is read, checked, written and explained.
///
/// The table `ConfigKey.all` is the one place that knows the file's layout; a new setting is one line.
struct ConfigKey {
  /// With its section, as `validation.every`.
  let path: String
  let explanation: String
  /// Whether a resumed run must have the same value.
  var decidesResult = true
  /// Whether the value may stand in quotes.
  var quotable = false
  /// The value as YAML.
  let read: (TrainingConfig) -> String
  /// Sets the value from a scalar's text; gives what was expected if it is no such value.
  let write: (inout TrainingConfig, String) -> String?

  static var all: [ConfigKey] {
    [
      text("about.name", "name of the model", \.about.name),
      text("about.provenance", "where the training images come from", \.about.provenance),
      text("about.licence", "licence of images and model", \.about.licence),
      text("data.images", "training images: IDX, NPY or a folder (or --data)", \.data.images).pacing,
      text("data.test", "images to measure the finished model on (or --test)", \.data.test).pacing,
      pattern(
        "data.range", "LOW:HIGH: the values of black and white, where they aren't those of the file's type",
        \.data.range,
        expected: "LOW:HIGH, as 0:255 or -1:1"
      ) { ValueRange($0) != nil }.pacing,
      pattern(
        "data.layout", "order of an array's axes: nhwc, nchw, or of one image hwc, chw", \.data.layout,
        expected: "nhwc, nchw, hwc or chw"
      ) { ImageLayout(rawValue: $0) != nil }.pacing,
      size("data.resize", "HxW: resize every image", \.data.resize).pacing,
      size("data.crop", "HxW: cut the middle out of every image", \.data.crop).pacing,
      choice(
        "data.channels",
        "of the images: as they are stored, colour turned to grey, or grey given three channels",
        \.data.channels
      ).pacing,
      choice(
        "data.stream",
        "keep decoded images in files of the run's folder, read step by step, not in memory; auto: above a gigabyte or a quarter of the memory",
        \.data.stream
      ).pacing,
      integer("seed", "key of everything random", \.seed, 0...UInt64.max),
      choice("precision", "of weights and arithmetic", \.precision),
      ConfigKey(
        path: "bits",
        explanation:
          "of the uniform dequantisation, (floor(v 2^bits / 256) + u) / 2^bits; none: real-valued data",
        read: { $0.dequantization.isNone ? "none" : "\($0.dequantization.bits)" },
        write: { config, text in
          guard let bits = text == "none" ? 0 : Int(text), text == "none" || (1...8).contains(bits) else {
            return "an integer from 1 to 8, or none"
          }
          config.dequantization = Dequantization(bits: bits)
          return nil
        }),
      ConfigKey(
        path: "patch",
        explanation: "HxW: train on patches of this size, cut at random out of larger pictures; or none",
        quotable: true, read: { $0.patch.isEmpty ? "none" : $0.patch },
        write: { config, text in
          let patch = text == "none" ? "" : text
          guard isSize(patch) else { return "HxW, as 32x32, or none" }
          config.patch = patch
          return nil
        }),
      ConfigKey(
        path: "stride",
        explanation:
          "pixels between the patches in which the model sees larger pictures; whole: as one; auto: half a patch, a patch of 24 and more where the flow knows its noise level, or whole where a convolutional flow does not",
        read: { $0.stride.description },
        write: { config, text in
          guard let stride = PatchStride(text) else { return "a number of pixels, whole or auto" }
          config.stride = stride
          return nil
        }
      ).pacing,
      integer("steps", "updates of the parameters", \.steps, 1...1_000_000_000).pacing,
      integer("batch", "images a step", \.batch, 1...65536),
      integer(
        "shares",
        "shares of a batch whose gradients are summed in a fixed order; so many ranks have work at most",
        \.shares, 1...65536),
      number("rate", "learning rate between warm-up and decay", \.rate.peak, above: 0, to: 10),
      integer("warmup", "steps of the linear warm-up", \.rate.warmup, 0...1_000_000_000),
      number(
        "decay.fraction", "share of the steps, at the end, over which the rate decays",
        \.rate.decayFraction, from: 0, to: 1),
      choice("decay.shape", "of the decay", \.rate.decayShape),
      number("decay.final", "rate at the end, relative to rate", \.rate.final, from: 0, to: 1),
      number(
        "clip", "largest norm of the gradient of the mean nats an image (0: no limit)", \.clip, from: 0,
        to: 1e30),
      number(
        "ema", "decay of the parameters' moving average, which is the result (0: none)", \.averageDecay,
        from: 0,
        below: 1),
      number("adam.beta1", "decay of the mean gradient", \.adam.beta1, from: 0, below: 1),
      number("adam.beta2", "decay of the mean squared gradient", \.adam.beta2, from: 0, below: 1),
      number("adam.epsilon", "added to the root of the mean square", \.adam.epsilon, above: 0, to: 1),
      integer(
        "initialization-images", "images that actnorm layers are initialised on",
        \.initializationImages, 1...65536),
      flag("augmentation.flip", "mirror every other image left and right", \.augmentation.flip),
      flag("augmentation.turn", "turn by 0 to 3 quarters, of square images", \.augmentation.turn),
      integer("augmentation.shift", "move by up to so many pixels each way", \.augmentation.shift, 0...64),
      ConfigKey(
        path: "validation.images",
        explanation: "training images kept back to measure on: a number, a share as 0.1, or auto (a tenth)",
        read: { $0.validation.images.description },
        write: { config, text in
          guard let images = HoldOut(text) else {
            return "a number of images, a share below 1 as 0.1, or auto"
          }
          config.validation.images = images
          return nil
        }),
      integer("validation.every", "steps between measurements", \.validation.every, 1...1_000_000_000),
      integer(
        "samples.every", "steps between sheets of samples (0: none)", \.samples.every,
        0...1_000_000_000),
      integer("samples.count", "images on a sheet", \.samples.count, 1...4096),
      number("samples.temperature", "of the samples", \.samples.temperature, from: 0, to: 10),
      number(
        "guard.loss-jump", "bits/dim above the running mean at which a step is undone",
        \.guarding.lossJump, above: 0, to: 1e30),
      number(
        "guard.gradient-jump", "times the running mean norm at which a step is undone",
        \.guarding.gradientJump, above: 1, to: 1e30),
      number("guard.rate-factor", "on the rate after an undone step", \.guarding.rateFactor, above: 0, to: 1),
      integer(
        "guard.recovery", "good steps until the rate is restored", \.guarding.recovery,
        0...1_000_000_000),
      integer(
        "guard.attempts", "undone steps in a row that end the training", \.guarding.attempts,
        1...1_000_000),
      integer("checkpoint-every", "steps between checkpoints", \.checkpointEvery, 1...1_000_000_000).pacing,
      integer("log-every", "steps between lines of the log", \.logEvery, 1...1_000_000_000),
    ]
  }

  /// The same key, free to differ when a run is resumed.
  private var pacing: ConfigKey {
    var key = self
    key.decidesResult = false
    return key
  }

  private var inQuotes: ConfigKey {
    var key = self
    key.quotable = true
    return key
  }

  private static func integer<I: FixedWidthInteger>(
    _ path: String, _ explanation: String, _ field: WritableKeyPath<TrainingConfig, I>,
    _ range: ClosedRange<I>
  ) -> ConfigKey {
    ConfigKey(
      path: path, explanation: explanation, read: { "\($0[keyPath: field])" },
      write: { config, text in
        let digits = text.filter { $0 != "_" }
        guard let value = I(digits), range.contains(value) else {
          return "an integer from \(range.lowerBound) to \(range.upperBound)"
        }
        config[keyPath: field] = value
        return nil
      })
  }

  private static func number(
    _ path: String, _ explanation: String, _ field: WritableKeyPath<TrainingConfig, Double>,
    from lower: Double = -.infinity, above open: Double = -.infinity, to upper: Double = .infinity,
    below bound: Double = .infinity
  ) -> ConfigKey {
    let low = open > -.infinity ? "above \(JSONText.number(open))" : "from \(JSONText.number(lower))"
    let high = bound < .infinity ? "below \(JSONText.number(bound))" : "up to \(JSONText.number(upper))"
    return ConfigKey(
      path: path, explanation: explanation, read: { JSONText.number($0[keyPath: field]) },
      write: { config, text in
        guard let value = Double(text), value.isFinite, value >= lower, value > open, value <= upper,
          value < bound
        else { return "a number \(low) and \(high)" }
        config[keyPath: field] = value
        return nil
      })
  }

  private static func flag(
    _ path: String, _ explanation: String, _ field: WritableKeyPath<TrainingConfig, Bool>
  ) -> ConfigKey {
    ConfigKey(
      path: path, explanation: explanation, read: { "\($0[keyPath: field])" },
      write: { config, text in
        guard let value = Bool(text) else { return "true or false" }
        config[keyPath: field] = value
        return nil
      })
  }

  private static func choice<Choice: RawRepresentable<String> & CaseIterable>(
    _ path: String, _ explanation: String, _ field: WritableKeyPath<TrainingConfig, Choice>
  ) -> ConfigKey {
    let names = Choice.allCases.map(\.rawValue).joined(separator: " or ")
    return ConfigKey(
      path: path, explanation: "\(explanation): \(names)", read: { $0[keyPath: field].rawValue },
      write: { config, text in
        guard let value = Choice(rawValue: text) else { return names }
        config[keyPath: field] = value
        return nil
      }
    ).inQuotes
  }

  private static func text(
    _ path: String, _ explanation: String, _ field: WritableKeyPath<TrainingConfig, String>
  ) -> ConfigKey {
    ConfigKey(
      path: path, explanation: explanation, read: { JSONText.quoted($0[keyPath: field]) },
      write: { config, text in
        config[keyPath: field] = text
        return nil
      }
    ).inQuotes
  }

  /// Whether a text is `HxW`, or empty.
  private static func isSize(_ text: String) -> Bool {
    let sides = text.split(separator: "x", omittingEmptySubsequences: false).map { Int($0) ?? 0 }
    return text.isEmpty || sides.count == 2 && sides.allSatisfy { $0 > 0 && $0 <= 65536 }
  }

  private static func size(
    _ path: String, _ explanation: String, _ field: WritableKeyPath<TrainingConfig, String>
  ) -> ConfigKey {
    pattern(path, explanation, field, expected: "HxW, as 64x64", isSize)
  }

  /// A text of a form, or none.
  private static func pattern(
    _ path: String, _ explanation: String, _ field: WritableKeyPath<TrainingConfig, String>, expected: String,
    _ isValid: @escaping (String) -> Bool
  ) -> ConfigKey {
    ConfigKey(
      path: path, explanation: explanation, read: { JSONText.quoted($0[keyPath: field]) },
      write: { config, text in
        guard text.isEmpty || isValid(text) else { return expected }
        config[keyPath: field] = text
        return nil
      }
    ).inQuotes
  }
}
