import AIPOImaging
import AIPOKernels
import AIPOPriors
import AIPOProblems
import AIPOSolvers

/// The table of settings. A new one is a line in it, a field of ``ReconstructionTask`` and a flag of the command.
extension ReconstructionTask: KeyedSettings {
  public static let keys: [SettingKey<ReconstructionTask>] =
    images.map { key in
      var key = key
      key.isSetting = false
      return key
    } + measurement + solver

  // MARK: Which images, and by what

  private static var images: [SettingKey<ReconstructionTask>] {
    [
      key("task", "What was done to the image.", "task", \.kind, .choice()),
      key(
        "method",
        """
        aipo follows the path. To compare with: fixed (the same objective, without a path), gaussian (a Gaussian \
        prior at λ = 1, in closed form), restarts (the best of several fixed, from draws), latent (over latents, \
        without the log-determinant), tv (total variation), lasso (sparse cosine transform). Several with commas \
        are run on the same data.
        """, "method", \.methods, .methods),
      key(
        "observation", "The observation: images, or for sense an NPY of shape [m] or [n,m].", "file",
        \.observation,
        .text),
      key(
        "operator",
        """
        The matrix of sense and phase, of shape [m, h*w*c], columns row-major over height, width, channels: an NPY or another array, or \
        a sparse matrix (Matrix Market, scipy's NPZ).
        """, "file",
        \.operatorFile, .text),
      key(
        "truth", "The true images, if they are known, for PSNR and SSIM. (default: unknown)", "file", \.truth,
        .text),
      key("simulate", "An experiment: take these images as truth and simulate.", "images", \.simulate, .text),
      key(
        "indices",
        """
        The images of --simulate or --observation to take: 5,42,79 or start:stop:step, stop excluded. \
        (default: all)
        """, "list", \.indices, .parsed("5,42,79 or start:stop:step") { IndexSelection($0) }),
      key(
        "range",
        """
        The values that are black and white, as 0:255 or -1:1, where a file is on another scale; \
        everything else, --sigma too, stays on 0:1. (default: 0:1 for floats, 0:255 for 8 bits, 0:65535 for 16-bit PNG)
        """, "low:high", \.reading.transform.range, .parsed("low:high, as 0:255") { ValueRange($0) }),
      key(
        "layout",
        """
        The order of an array's axes: nhwc, nchw (channels first, as PyTorch has them), or of one image hwc, chw. \
        (default: nhwc; [n, h, w] and [h, w] where there are fewer axes)
        """, "axes", \.reading.layout, .choice()),
      key(
        "crop", "Cut this size from the middle of every image. (default: no)", "HxW",
        \.reading.transform.crop,
        .parsed("HxW, as 64x64") { PixelSize($0) }),
      key(
        "resize", "Resize every image, after --crop. (default: no)", "HxW", \.reading.transform.resize,
        .parsed("HxW, as 64x64") { PixelSize($0) }),
      channels("grey", "Turn colour images to grey.", .grey),
      channels("colour", "Give grey images three equal channels.", .colour),
      key("model", "The flow prior.", "file", \.model, .text),
      key(
        "seed", "Seed of everything random.", "n", \.seed,
        SettingForm(expected: "a whole number from 0", parse: { UInt64($0) }, store: { .unsigned($0) })),
    ]
  }

  // MARK: How they were measured

  private static var measurement: [SettingKey<ReconstructionTask>] {
    [
      key(
        "noise",
        """
        The law of the noise: gaussian, laplace, student, poisson (the observation is counts over --peak, so that \
        white is 1; with --counts it is the counts), outliers (a share of the measurements lost), or flow:FILE, a \
        flow trained on noise.
        """, "model", \.noise,
        .parsed("one of \(NoiseChoice.names.joined(separator: ", ")) or flow:FILE") { NoiseChoice($0) }),
      key(
        "sigma",
        """
        Standard deviation of the noise of a measurement, with black at 0 and white at 1: 25 grey levels of 255 are \
        0.098. An NPY gives each measurement its own. auto estimates it from each image, which needs noise that one \
        can see, and for sense as many measurements as pixels; --simulate then adds noise of the default. evidence \
        begins there and goes to the σ under which the measurement is the most probable, by thousands of draws of the posterior. For \
        student it is the scale, for poisson the read noise. (default: 0.1 for denoise, 0.1/√m for sense, none for ct, \
        else 0.01; 0 for poisson)
        """, "s", \.sigma,
        SettingForm(
          expected: "a number from 1e-150 to 1e150, auto, evidence, or an .npy file",
          parse: { SigmaChoice($0) },
          store: { if case .number(let value) = $0 { .number(value) } else { .string($0.description) } })),
      key(
        "noise-covariance",
        "Covariance of gaussian noise in place of --sigma, an NPY of shape [m, m]. (default: none)", "file",
        \.noiseCovariance, .text),
      key(
        "tip",
        """
        How far the tip of laplace is rounded, in units of its scale. Near 0 the density is Laplace's own, and the \
        most probable image keeps much of the noise. (default: 1)
        """, "r", \.tip, .number(LaplaceNoise.tipRange)),
      key(
        "nu", "Degrees of freedom of student noise. (default: 3)", "n", \.nu,
        .number(StudentNoise.degreesRange)),
      key(
        "peak", "Mean count of a white pixel under poisson noise. (default: 30)", "n", \.peak,
        .number(PoissonNoise.peakRange)),
      key(
        "counts",
        "The observation holds the counts themselves under poisson noise, 0, 1, 2, …: they are divided by --peak.",
        "", \.counts, SettingForm(expected: "true or false", parse: { Bool($0) }, store: { .bool($0) })),
      key(
        "outliers",
        """
        Share of the measurements that outliers noise replaces by 0 or 1, and of which it assumes nothing but \
        that they lie between (for sense: the least and the greatest measurement). (default: 0.1)
        """, "share", \.outliers, .number(OutlierNoise.shareRange)),
      key(
        "quantize",
        """
        Measurements were rounded to so many bits, equal steps of the range 0:1, or of --saturate, and are given by the \
        middle of their step. Each tells an interval, the outermost to infinity, and counts by its exact probability.
        """, "bits", \.quantize, .whole(IntervalNoise.bitsRange)),
      key(
        "saturate",
        "The ends of the sensor's range: a measurement at one of them tells that it was reached, and no more.",
        "low:high", \.saturate, .parsed("low:high, as 0:1") { ValueRange($0) }),
      key(
        "measurements",
        "Measurements m of sense and phase, by random numbers from the seed: A_ij ~ N(0, 1/m), or as --ensemble says.",
        "m",
        \.measurements, .whole(1...1 << 20)),
      key(
        "mask",
        """
        What inpaint misses: center:10, box:y,x,h,w, random:0.5 (a share), or an image that is zero there. An image \
        of the observation's size is cropped and resized with it; one of the model's size is taken as it is.
        """, "mask", \.mask,
        .parsed("center:SIZE, box:y,x,h,w, random:SHARE with a share from 0 to 1, or a file") {
          try? MaskChoice(parsing: $0)
        }),
      key(
        "mask-threshold",
        """
        For a mask of more than two values, as a JPEG has: pixels are observed from this share of its greatest \
        value on. (default: such a mask is refused)
        """, "share", \.maskThreshold, .number(.leastNonzeroMagnitude...1, "a share above 0, at most 1")),
      key(
        "ensemble",
        """
        What --measurements of sense are made by: gaussian (a matrix of normal entries), or fast transforms of an image with \
        random signs, of which m coefficients are kept, for images of any size: hadamard, dct, fourier. For phase gaussian, \
        or fourier:N: Fourier transforms of the image behind N masks of random phases. (default: gaussian)
        """, "name", \.ensemble,
        .parsed("one of \(EnsembleChoice.names.joined(separator: ", "))") { EnsembleChoice($0) }),
      key(
        "geometry",
        """
        The rays of ct: parallel, or fan:SOURCE,DETECTOR, the distances of the source and of a flat detector from the middle \
        of the image, in the unit of --pixel-size. (default: parallel)
        """, "rays", \.geometry, .parsed("parallel or fan:SOURCE,DETECTOR") { GeometryChoice($0) }),
      key(
        "angles",
        """
        The angles of ct in degrees: N over a half turn (of a fan, a full one), start:stop:step, stop excluded, or an NPY. \
        At 0 parallel rays run down the columns, and detectors along the rows.
        """, "list", \.angles, .parsed("a number, start:stop:step or a file") { AnglesChoice($0) }),
      key(
        "detectors", "Detectors of ct. (default: as many as see all of the image)", "n", \.detectors,
        .whole(1...1_000_000)),
      key(
        "detector-spacing",
        "Distance of neighbouring detectors of ct. (default: the pixel's size, for a fan as large as it is on the detector)",
        "s", \.detectorSpacing, .number(1e-12...1e12, "a positive number")),
      key(
        "offset", "How far the middle of the detectors of ct lies off the rays' middle. (default: 0)", "s",
        \.offset,
        .number(-1e12...1e12)),
      key(
        "pixel-size",
        "The side of a pixel of ct in a unit of length, in which line integrals are measured. (default: 1)",
        "s",
        \.pixelSize, .number(1e-12...1e12, "a positive number")),
      key(
        "kspace-mask",
        """
        The samples of k-space that mri takes on the grid of the image's frequencies, with the zero frequency in the middle: random:SHARE or lines:N (a share of the \
        rows, or every N-th, and the 8 % in the middle), or an NPY that isn't zero there.
        """, "mask", \.kspaceMask, .parsed("random:SHARE, lines:N or a file") { SamplingChoice($0) }),
      key(
        "trajectory",
        """
        Where mri takes samples of k-space that lie on no grid: an array of shape [m, 2], frequencies ky, kx in cycles a \
        pixel, from -0.5 to 0.5.
        """, "file", \.trajectory, .text),
      key(
        "coils",
        "Sensitivities of the coils of mri, an NPY of shape [coils, h, w, 2], real and imaginary parts. (default: one coil)",
        "file", \.coils, .text),
      key(
        "size",
        """
        Height and width of the images of sense, ct, mri and phase, which an observation doesn't tell; with check-operator, of every \
        operator's. (default: those of --truth or --simulate, else of the model's training)
        """, "HxW", \.size, .parsed("HxW, as 64x64") { PixelSize($0) }),
      key(
        "kernel",
        """
        The blur of deblur: gaussian:S (deviation in pixels), motion:LENGTH,ANGLE (degrees counterclockwise from a row), \
        disk:R, or an NPY of weights, of even size too, or of a grid of kernels, [rows, columns, h, w], where the blur differs \
        from place to place. Pixels are correlated with the weights, as by \
        scipy.ndimage.correlate; the middle of n weights is n/2, counted from 0. For superresolve the weights of the pixels \
        of the large image: bicubic (as MATLAB's imresize), bilinear, box, or any of those above. (default: bicubic for \
        superresolve)
        """, "kernel", \.kernel,
        .parsed("gaussian:S, motion:LENGTH,ANGLE, disk:R, bicubic, bilinear, box, or a file") {
          try KernelChoice(parsing: $0)
        }),
      key(
        "kernel-of",
        """
        What a kernel of a grid belongs to: the pixel of the measurement, which gathers by it, or the pixel of the image, \
        whose light it spreads. Between the middles of the grid's parts kernels change linearly. (default: measurement)
        """, "pixel", \.kernelOf, .choice()),
      key(
        "boundary",
        """
        What deblur and superresolve take an image to be beyond its borders: its mirror image, its border's value, zero, \
        the image again, or nothing (valid: the observation is smaller than the image). (default: reflect)
        """, "rule", \.boundary, .choice()),
      key(
        "scale", "How many times smaller the observation of superresolve is, in height and width.", "k",
        \.scale,
        .whole(2...Resampling.factors.upperBound)),
      key(
        "phase",
        """
        Where the first pixel of superresolve has its middle in the large image, in rows and columns, whose first pixel is \
        at 0. The others follow every k pixels. 0 with gaussian:S is blurring, and then every k-th pixel. \
        (default: (k-1)/2, the middle of a block of k x k pixels)
        """, "p", \.phase, .number(-100...100)),
      key(
        "pattern",
        "The colours that demosaic sees: a square of the letters R, G, B, row by row, or rows parted by /. (default: RGGB)",
        "letters", \.pattern, .parsed("RGGB, RG/GB or the like") { ColourPattern($0) }),
      key(
        "mixing",
        """
        What unmix sees of every pixel: grey (0.299 R + 0.587 G + 0.114 B of a colour image), or an NPY of shape \
        [bands, channels]. (default: grey)
        """, "mixing", \.mixing, .parsed("grey or a file") { $0.isEmpty ? nil : MixingChoice($0) }),
    ]
  }

  // MARK: How they are solved

  private static var solver: [SettingKey<ReconstructionTask>] {
    [
      key(
        "path",
        """
        What changes along the path of aipo. lambda: the weight of the prior, from 0. prior: the prior, from a \
        Gaussian to the flow. noise: both, as if the noise were first stronger than it is. smooth: the noise level of \
        the prior itself, for models that know theirs. auto: smooth, or noise where the model knows no level, or \
        lambda where it has no Gaussian either. theorem: lambda by gradient descent in the theorem's own steps, which \
        needs --precision float64, a smooth flow and a full-rank operator. curve:λ,t/λ,t/…/1,1: straight lines \
        between corners, in multiples of the targets of λ and t; t = 0 is the Gaussian prior. noise is \
        curve:3,0/3,1/1,1.
        """, "path", \.path, .parsed("a path") { try PathChoice(parsing: $0) }),
      key(
        "lambda",
        """
        Weight of the prior. 1 gives the most probable image; less keeps more of the observation. auto chooses it \
        without the truth; posterior takes 1 then. evidence: that under which the measurement is the most probable, \
        by thousands of draws of the posterior and of the prior.
        """, "l", \.lambda,
        .parsed("a positive number, auto or evidence") { LambdaSetting($0) }),
      key(
        "flow-share",
        """
        Share t of the flow in the prior, which is t of the flow's -log p and 1 - t of the Gaussian's. 1 is the \
        flow alone. auto: \(ReconstructionOptions.usualFlowShare), or \
        \(ReconstructionOptions.flowShareOfMissing) where pixels are missing; 1 where --lambda is a number or \
        the model holds no Gaussian.
        """, "t", \.flowShare, .numberOrAuto("a number above 0, at most 1, or auto") { $0 > 0 && $0 <= 1 }),
      key("space", "Search over pixels (x) or over latents (z).", "space", \.space, .choice()),
      key("corrector", "How each step is minimised.", "name", \.corrector, .choice()),
      key(
        "predictor",
        """
        The guess for the next solution along a path: the last one (none), along the line through the last two \
        (secant), or along the tangent, which costs Hessian-vector products of two evaluations each.
        """, "name", \.predictor, .choice()),
      key(
        "init",
        """
        Where the descent starts: at the observation (A⁺y), zero (the flow's image of zero), random (uniform \
        pixels), prior (a draw), or gaussian (the solution under the Gaussian prior). With --path noise or prior \
        it makes no difference. (default: observed for a full-rank operator, else gaussian)
        """, "start", \.start, .choice(but: .auto)),
      key(
        "probes",
        "Random probes of the flow’s curvature, for steps of the right length; an evaluation each. 0: none.",
        "n",
        \.probes, .whole(0...1000)),
      key(
        "tolerance", "The descent has converged when the gradient is this part of what it was at the start.",
        "t",
        \.tolerance, .number(.leastNonzeroMagnitude...1.0.nextDown, "a number between 0 and 1")),
      key(
        "epsilon",
        """
        The descent has converged, too, when \(ToleranceRule().window) steps change the objective by less than so \
        many nats. 0: never by that. auto: \(ToleranceRule().epsilon)·√d for images of d values, 0.05 for 28x28.
        """, "nats", \.epsilon,
        .numberOrAuto("a finite number from 0 on, or auto") { $0 >= 0 && $0.isFinite }),
      key(
        "max-evaluations",
        "Evaluations of the flow (value and gradient) that an image may take; a Hessian-vector product counts 2.",
        "n", \.maxEvaluations, .whole(1...Int.max, "1 or more")),
      key("precision", "Element type; sums are always in float64.", "type", \.precision, .choice()),
      key(
        "restarts",
        """
        Descents of restarts and latent, each from another draw; they share --max-evaluations, and the one with \
        the lowest objective is kept. Of phase, starts that are tried under the Gaussian prior. (default: 8 for restarts; \
        for latent one, from ε = 0; 6 for phase)
        """, "n", \.restarts, .whole(1...ReconstructionOptions.restartLimit)),
      key(
        "penalty", "Weight of the penalty of tv and lasso, in nats; auto chooses it without the truth.", "w",
        \.penalty, .numberOrAuto("a positive number or auto") { $0 > 0 && $0.isFinite }),
    ]
  }

  /// A flag that brings images to a number of channels; there is one of them at most.
  private static func channels(_ name: String, _ help: String, _ choice: ChannelChoice) -> SettingKey<Self> {
    SettingKey(
      name: name, help: help, valueName: "", words: [],
      read: { .bool($0.reading.transform.channels == choice) },
      write: { task, text in
        guard let isOn = Bool(text) else { return "true or false" }
        guard isOn else { return nil }
        if ![.stored, choice].contains(task.reading.transform.channels) {
          return "one of --grey and --colour"
        }
        task.reading.transform.channels = choice
        return nil
      })
  }
}

extension ReconstructionTask {
  /// What decides the results, for JSON and reports: the keys that have a value.
  package var settings: [(String, JSONValue)] {
    Self.keys.compactMap { key in
      guard key.isSetting, key.name != "penalty" || isPenalised, key.name != "counts" || counts else {
        return nil
      }
      return key.read(self).map { (key.jsonName, $0) }
    }
  }

  private var isPenalised: Bool { methods.contains { $0 == .tv || $0 == .lasso } }
}
