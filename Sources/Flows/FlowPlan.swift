import AIPOKernels

/// How a flow takes a batch of images of one size through its layers in bounded memory: how many images at a time, what
/// is kept for the way back, and how many rows of a large image go through a coupling's net together.
///
/// Whatever the plan, an image gets the same bits (but for `GradientMemory.flat`).
public struct FlowPlan: Sendable, Hashable {
  /// What a pass is for.
  public enum Purpose: String, Sendable, Hashable {
    /// There alone: densities, latents, images.
    case value
    /// There and back to the images or the latents.
    case gradient
    /// There and back with the gradients of all parameters.
    case parameterGradient = "parameter gradient"
  }

  public let purpose: Purpose
  /// Images of the batch that are taken at a time.
  public let imagesAtOnce: Int
  /// Bytes of scratch memory that it takes at most, beside the arrays that are given and returned.
  public let bytes: Int

  let kept: GradientMemory.Kept
  /// Values that are kept of an image.
  let keptCount: Int
  /// Whether each thread takes a share of the images, rather than all working on one pass.
  let isShared: Bool
  /// What a pass takes for its own arrays and its layers'.
  let scratchCount: ScratchCount
  /// Images whose parameter gradients are summed before they are added to the others'. At most eight such slabs, so that
  /// the sum's order depends on the batch alone.
  let slab: Int
  /// Values that a net's activations may take on a thread.
  let stripCount: Int

  /// What arrays on the tape take more, since they begin at multiples of 64 bytes.
  static let tapeMargin = 4096

  /// Numbers in double precision that a pass has an image, beside those of its rows: log-determinant, its cotangent,
  /// noise level.
  static let imageNumbers = 3

  /// A plan for `count` images, or `FlowError.tooLarge`.
  static func make<Scalar>(
    _ net: FlowNet<Scalar>, _ route: FlowRoute, memory: GradientMemory, available: Int, purpose: Purpose,
    count: Int, threads: Int
  ) throws -> FlowPlan {
    let planner = Planner(net: net, route: route, purpose: purpose, count: count, threads: threads)
    let candidates = Candidate.all(memory, purpose, within: available)
    for candidate in candidates {
      for strip in Planner<Scalar>.strips {
        if let plan = planner.plan(candidate, strip: strip) { return plan }
      }
    }
    throw FlowError.tooLarge(
      route.first, purpose: purpose, bytes: candidates.map { planner.least($0.kept).bytes }.min() ?? 0,
      limit: candidates[0].limit, fits: planner.largest(candidates))
  }

  /// Something to keep, within limits in bytes on that alone and on all.
  fileprivate struct Candidate {
    var kept: GradientMemory.Kept
    var tapeLimit = Int.max
    var limit: Int
    var isWhole = false

    static func all(_ memory: GradientMemory, _ purpose: Purpose, within bound: Int) -> [Candidate] {
      guard purpose != .value else {
        if case .upTo(let bytes) = memory { return [Candidate(kept: .nothing, limit: bytes)] }
        return [Candidate(kept: .nothing, limit: bound)]
      }
      switch memory {
      case .flat: return [Candidate(kept: .nothing, limit: bound)]
      case .kept: return [Candidate(kept: .nets, limit: .max, isWhole: true)]
      case .upTo(let bytes):
        return [Candidate(kept: .nets, limit: bytes), Candidate(kept: .inputs, limit: bytes)]
      case .automatic:
        let some = purpose == .parameterGradient ? 1 << 31 : 1 << 28
        return [
          Candidate(kept: .nets, tapeLimit: some, limit: bound),
          Candidate(kept: .inputs, tapeLimit: some, limit: bound),
          // Of a large image.
          Candidate(kept: .nets, tapeLimit: 4 * some, limit: bound),
          Candidate(kept: .inputs, limit: bound),
        ]
      }
    }
  }
}

/// What a layer's scratch memory depends on beside the shape.
struct FlowWork {
  /// Of a pass.
  var images: Int
  var threads: Int
  var goesBack: Bool
  var parameterGradients: Bool
  var slab: Int
  /// Values that a net's activations may take on a thread.
  var stripCount: Int
}

/// Counts what plans take.
private struct Planner<Scalar: KernelScalar> {
  let net: FlowNet<Scalar>
  let route: FlowRoute
  let purpose: FlowPlan.Purpose
  let count: Int
  let threads: Int

  /// Values of nets' activations that all threads hold together; the last makes strips of one row.
  static var strips: [Int] { [1 << 24, 1 << 22, 1 << 20, 1 << 18, 1 << 16, 1 << 14, 1 << 12, 0] }

  private var slab: Int { purpose == .parameterGradient ? max(1, (count + 7) / 8) : 1 }

  func keptCount(_ kept: GradientMemory.Kept) -> Int {
    guard kept != .nothing else { return 0 }
    return net.steps.reduce(0) { sum, step in
      let (input, output) = (route.shapes[step.place], route.shapes[step.place + 1])
      return sum
        + (step.keeping?.keptCount(kept, input: input, parameterGradients: purpose == .parameterGradient)
          ?? max(input.count, output.count))
    }
  }

  /// A plan of so many images at a time.
  func plan(images: Int, kept: GradientMemory.Kept, keptCount: Int, strip: Int) -> FlowPlan {
    let goesBack = purpose != .value
    let isShared = purpose != .parameterGradient && threads > 1 && images >= threads
    let share = isShared ? (images + threads - 1) / threads : images
    let work = FlowWork(
      images: share, threads: isShared ? 1 : threads, goesBack: goesBack,
      parameterGradients: purpose == .parameterGradient, slab: slab,
      stripCount: isShared || purpose == .parameterGradient ? strip / threads : strip)
    let layers = net.steps.reduce(ScratchCount()) {
      .largest($0, $1.scratch?.scratchCount(input: route.shapes[$1.place], work) ?? ScratchCount())
    }
    let scratch = ScratchCount(first: (goesBack ? 6 : 3) * (share * route.first.count + 16)) + layers
    let tape = kept == .nothing ? 0 : share * keptCount + FlowPlan.tapeMargin
    let values = scratch.first + (work.threads - 1) * scratch.others + tape
    let doubles = share * (FlowPlan.imageNumbers + route.tallest)
    let bytes = values * MemoryLayout<Scalar>.stride + doubles * MemoryLayout<Double>.stride
    return FlowPlan(
      purpose: purpose, imagesAtOnce: images, bytes: isShared ? threads * bytes : bytes, kept: kept,
      keptCount: keptCount, isShared: isShared, scratchCount: scratch, slab: slab,
      stripCount: work.stripCount)
  }

  /// The plan of most images at a time that keeps a candidate's limits.
  func plan(_ candidate: FlowPlan.Candidate, strip: Int) -> FlowPlan? {
    let keptCount = keptCount(candidate.kept)
    func plan(_ images: Int) -> FlowPlan? {
      let plan = self.plan(images: images, kept: candidate.kept, keptCount: keptCount, strip: strip)
      let tape = images * keptCount * MemoryLayout<Scalar>.stride
      return tape <= candidate.tapeLimit && plan.bytes <= candidate.limit ? plan : nil
    }
    if let whole = plan(max(count, 1)) { return whole }
    guard !candidate.isWhole, var best = plan(slab) else { return nil }
    // Slabs that fit, and that don't.
    var (low, high) = (1, (max(count, 1) + slab - 1) / slab)
    while high - low > 1 {
      let middle = (low + high) / 2
      if let plan = plan(middle * slab) {
        (best, low) = (plan, middle)
      } else {
        high = middle
      }
    }
    return best
  }

  /// The plan that takes least.
  func least(_ kept: GradientMemory.Kept) -> FlowPlan {
    plan(images: slab, kept: kept, keptCount: keptCount(kept), strip: 0)
  }

  /// The largest shape of about the same proportions that fits; nil if none does.
  func largest(_ candidates: [FlowPlan.Candidate]) -> ImageShape? {
    let (first, last) = (route.first, route.last)
    let (rows, columns) = (max(1, first.height / last.height), max(1, first.width / last.width))
    func shape(_ k: Int) -> ImageShape {
      let width = max(1, k * rows * first.width / (first.height * columns)) * columns
      return ImageShape(height: k * rows, width: width, channels: first.channels)
    }
    func fits(_ k: Int) -> Bool {
      guard let route = try? net.route(for: shape(k)) else { return false }
      let planner = Planner(net: net, route: route, purpose: purpose, count: count, threads: threads)
      return candidates.contains { planner.plan($0, strip: 0) != nil }
    }
    var (low, high) = (0, first.height / rows)
    while high - low > 1 {
      let middle = (low + high) / 2
      if fits(middle) { low = middle } else { high = middle }
    }
    return low > 0 ? shape(low) : nil
  }
}
