import AIPOKernels
import AIPOPlatform

/// Everything that decides what a training gives, but for the images.
public struct TrainingConfig: Sendable, Hashable {
  public enum Precision: String, Sendable, CaseIterable { case float32, float64 }

  /// The flow to train; a YAML must have it.
  public var flow: FlowSpec?

  /// Key of everything random: weights, order, augmentation, noise, validation images, samples.
  public var seed: UInt64 = 0
  public var precision = Precision.float32

  /// Updates of the parameters. A resumed run may have others than it began with, as long as it hasn't made more.
  public var steps = 10_000
  /// Images a step.
  public var batch = 64
  /// Shares of a batch whose gradients are summed along a fixed tree: as many ranks at most have work in a step.
  public var shares = 8
  public var rate = RateSchedule()
  public var adam = Adam()
  /// Largest Euclidean norm of the gradient of the batch's mean −log p (nats an image); a longer
  /// gradient is scaled down to it. 0: no limit.
  public var clip = 500.0
  /// Decay d of the parameters' moving average, at update u at most (1 + u)/(10 + u). Validation, samples
  /// and the final model use the average. 0: none is kept.
  public var averageDecay = 0.999
  var isAveraging: Bool { averageDecay > 0 }
  /// Images that the data-dependent initialisation sees.
  public var initializationImages = 256

  /// Bits of the uniform dequantisation.
  public var dequantization = Dequantization(bits: 5)
  /// `HxW`: what is trained on are patches of this size, cut out of the images at random. Empty: whole images.
  public var patch = ""
  /// How the model sees pictures that are larger than a patch.
  public var stride = PatchStride.automatic
  public var augmentation = Augmentation()

  public var validation = Validation()
  public var samples = Samples()
  public var guarding = Guard()

  public var about = About()
  public var data = DataSource()

  /// Steps between checkpoints; a checkpoint is also written when the run ends or is cancelled.
  public var checkpointEvery = 500
  /// Steps between lines of the log; a line holds the means over the steps since the last.
  public var logEvery = 10

  /// Images kept back from the training data, drawn by the seed, to measure bits/dim on.
  public struct Validation: Sendable, Hashable {
    /// Images kept back. Where there are none, nothing is validated.
    public var images = HoldOut.automatic
    /// Steps between measurements; the end is always measured.
    public var every = 500
  }

  /// Sheets of samples drawn by the averaged parameters.
  public struct Samples: Sendable, Hashable {
    /// Steps between sheets. 0: none.
    public var every = 1000
    public var count = 64
    public var temperature = 0.8
  }

  /// When a step is rolled back, and what follows.
  public struct Guard: Sendable, Hashable {
    /// A loss so many bits/dim above its running mean counts as an explosion.
    public var lossJump = 4.0
    /// A gradient norm so many times its running mean counts as an explosion.
    public var gradientJump = 1000.0
    /// What the rate is multiplied by after a roll-back …
    public var rateFactor = 0.5
    /// … for so many good steps.
    public var recovery = 100
    /// So many roll-backs in a row end the training with an error.
    public var attempts = 10
  }

  /// What the model file says about itself.
  public struct About: Sendable, Hashable {
    public var name = ""
    /// Where the training images come from.
    public var provenance = ""
    /// The licence of the images and of the model.
    public var licence = ""
  }

  /// Where images are read from; the caller reads them. The paths are no part of the recipe that a model
  /// file holds.
  public struct DataSource: Sendable, Hashable {
    /// The training images.
    public var images = ""
    /// Images that the finished model is measured on, never used before.
    public var test = ""
    /// `LOW:HIGH`: the values of black and white. Empty: those of the file's type.
    public var range = ""
    /// Order of the axes of an array: `nhwc`, `nchw`, `hwc` or `chw`. Empty: `nhwc`, refused where it doesn't look so.
    public var layout = ""
    /// `HxW`: every image is resized to it. Empty: not resized.
    public var resize = ""
    /// `HxW`: the middle of every image is cut out. Empty: not cut.
    public var crop = ""
    /// Whether images are turned to grey, or grey ones given three channels.
    public var channels = ChannelChoice.stored
    /// Whether the decoded images are kept in files of the run's folder instead of memory.
    public var stream = Streaming.auto
  }

  public enum Streaming: String, Sendable, CaseIterable {
    /// Where they take more than a gigabyte or a quarter of the memory.
    case auto
    case always = "true"
    case never = "false"

    /// Whether to stream a set of so many bytes, of which each of `neighbours` processes would hold a copy on this machine.
    public func isDue(bytes: Int, neighbours: Int = 1) -> Bool {
      switch self {
      case .auto: bytes > min(1 << 30, MemoryLimit.available(beside: 0) / (4 * neighbours))
      case .always: true
      case .never: false
      }
    }
  }

  /// Takes other training images than the settings name. What these say of their own images (test images, name,
  /// provenance, licence) doesn't hold for others, and is left out.
  public mutating func replaceImages(with path: String) {
    if !data.images.isEmpty, data.images != path {
      data.test = ""
      about = About()
    }
    data.images = path
  }

  public init() {}
}

/// The learning rate: a linear warm-up, a constant stretch, and a decay over the last steps.
public struct RateSchedule: Sendable, Hashable {
  public enum Shape: String, Sendable, CaseIterable { case linear, cosine }

  /// The rate of the constant stretch.
  public var peak = 1e-3
  /// Steps of the warm-up, from peak/warmup to peak.
  public var warmup = 100
  /// The share of all steps, at the end, over which the rate decays.
  public var decayFraction = 0.3
  public var decayShape = Shape.cosine
  /// The rate at the end, relative to the peak.
  public var final = 0.01

  public init() {}

  /// Whether steps before `step` have the same rates in runs of `a` and of `b` steps.
  public func agrees(before step: Int, inRunsOf a: Int, and b: Int) -> Bool {
    a == b || decayFraction == 0 || final == 1 || step == 0
      || Double(step - 1) < (1 - decayFraction) * Double(min(a, b))
  }

  /// The rate of a step (from 0) of `steps`.
  public func rate(step: Int, steps: Int) -> Double {
    var rate = peak
    if step < warmup { rate *= Double(step + 1) / Double(warmup) }
    let start = (1 - decayFraction) * Double(steps)
    if Double(step) >= start, decayFraction > 0 {
      let progress = (Double(step) - start) / (decayFraction * Double(steps))
      switch decayShape {
      case .linear: rate *= 1 - (1 - final) * progress
      case .cosine: rate *= final + (1 - final) * (1 + cos(Double.pi * progress)) / 2
      }
    }
    return rate
  }
}
