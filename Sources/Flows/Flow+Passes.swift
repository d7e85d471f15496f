import AIPOKernels

/// A batch's way through the layers, there and back.
extension Flow {
  /// What a pass is for.
  struct PassKind {
    var atLatents = false
    var goesBack = false
    var parameterGradients = false
    var kept = GradientMemory.Kept.nothing
    /// Values an image that are kept.
    var keptCount = 0
    var slab = 1

    /// Images of a batch whose parameter gradients are summed before they are added to the others'. At most eight such
    /// slabs, so that the sum's order depends on the batch alone.
    static func slab(count: Int) -> Int { max(1, (count + 7) / 8) }
  }

  /// Runs `body` on passes that together hold the images: one on each thread with its share of them, or one on all
  /// threads if there are fewer images than threads.
  ///
  /// Work on parameter gradients is always one pass.
  func share(
    _ images: Range<Int>, parameterGradients: Bool = false,
    _ body: (_ pass: FlowPass<Scalar>, _ images: Range<Int>) throws -> Void
  ) throws {
    let count = images.count
    let shares = lanes.count
    guard !parameterGradients, shares > 0, count >= shares else { return try body(whole, images) }
    try pool.run(shares) { k, _ in
      let (start, end) = (count * k / shares, count * (k + 1) / shares)
      try body(lanes[k], images.lowerBound + start..<images.lowerBound + end)
    }
  }

  /// Calls `body` for parts of a batch that a gradient takes one after the other.
  func forParts(
    count: Int, through direction: Kernel<Scalar>.Direction, parameterGradients: Bool,
    _ body: (_ images: Range<Int>, _ kind: PassKind) throws -> Void
  ) throws {
    var kind = PassKind(
      atLatents: direction == .inverse, goesBack: true, parameterGradients: parameterGradients)
    if parameterGradients { kind.slab = PassKind.slab(count: count) }
    let (kept, size) = try chosenMemory.plan(
      count: count, unit: kind.slab, parameterGradients: parameterGradients
    ) {
      keptCount($0, parameterGradients: parameterGradients) * MemoryLayout<Scalar>.stride
    }
    kind.kept = kept
    kind.keptCount = keptCount(kept, parameterGradients: parameterGradients)
    var start = 0
    repeat {
      try body(start..<min(start + size, count), kind)
      start += size
    } while start < count
    settle()
  }

  /// Values of one image that a pass keeps.
  private func keptCount(_ kept: GradientMemory.Kept, parameterGradients: Bool) -> Int {
    var count = 0
    for step in steps {
      // No layer's output is larger than the image.
      count +=
        step.keeping?.keptCount(kept, parameterGradients: parameterGradients) ?? dimension
    }
    return count
  }

  func settle() {
    whole.settle()
    for lane in lanes { lane.settle() }
  }

  func begin(_ pass: FlowPass<Scalar>, count: Int, _ kind: PassKind) throws {
    try pass.begin(
      count: count, shape: imageShape, height: tallest, atLatents: kind.atLatents, goesBack: kind.goesBack,
      parameterGradients: kind.parameterGradients, kept: kind.kept,
      keptCount: kind.keptCount, slab: kind.slab)
  }

  /// Through all layers; the pass holds the values (or the latents) and then the latents (or the values).
  func go(_ direction: Kernel<Scalar>.Direction, _ pass: FlowPass<Scalar>) throws {
    switch direction {
    case .forward: for step in steps { try pass.through(step, .forward) }
    case .inverse: for step in steps.reversed() { try pass.through(step, .inverse) }
    }
  }

  /// Back through all layers that `go` went through, or that would have led to the values that the pass holds.
  func goBack(_ direction: Kernel<Scalar>.Direction, _ pass: FlowPass<Scalar>) throws {
    let fresh = freshGradient
    func back(_ step: Step) throws {
      if let fresh {
        // Zeroed here rather than for all steps at once, so that the sums are made in the cache.
        let values = part(of: fresh, step)
        try pool.split(values.count, minimum: 1 << 16) { range, _ in values[range].fill(0) }
      }
      try pass.back(through: step, direction)
    }
    switch direction {
    case .forward: for step in steps.reversed() { try back(step) }
    case .inverse: for step in steps { try back(step) }
    }
    // There is one only where this pass alone is under way.
    if fresh != nil { freshGradient = nil }
  }

  // MARK: Latents

  /// From a pass's `[level][n, size]` to `[n, d]`.
  func gather(_ levels: Memory<Scalar>, count: Int, into rows: Memory<Scalar>) {
    eachLatentRun(count: count) { byLevel, byImage in rows[byImage].copy(from: levels[byLevel]) }
  }

  /// From rows of `[n, d]` to a pass's `[level][n, size]`.
  func scatter(_ latents: Tensor<Scalar>, rows: Range<Int>, into levels: Memory<Scalar>) {
    let first = rows.lowerBound * dimension
    latents.withUnsafeBufferPointer { values in
      eachLatentRun(count: rows.count) { byLevel, byImage in
        levels[byLevel].copy(
          from: UnsafeBufferPointer(
            rebasing: values[first + byImage.lowerBound..<first + byImage.upperBound]))
      }
    }
  }

  private func eachLatentRun(count: Int, _ body: (_ byLevel: Range<Int>, _ byImage: Range<Int>) -> Void) {
    var offset = 0
    for size in latentSizes {
      for i in 0..<count {
        let byLevel = count * offset + i * size
        let byImage = i * dimension + offset
        body(byLevel..<byLevel + size, byImage..<byImage + size)
      }
      offset += size
    }
  }
}

extension FlowPass {
  /// Through a layer, keeping its output if it doesn't keep by itself what its way back needs.
  fileprivate func through(_ step: Flow<Scalar>.Step, _ direction: Kernel<Scalar>.Direction) throws {
    switch direction {
    case .forward: try step.layer.forward(self)
    case .inverse: try step.layer.inverse(self)
    }
    if kept != .nothing, step.keeping == nil { try keep(values) }
  }

  fileprivate func back(through step: Flow<Scalar>.Step, _ direction: Kernel<Scalar>.Direction) throws {
    if kept != .nothing, step.keeping == nil { values.copy(from: recall()) }
    switch direction {
    case .forward: try step.layer.forwardVJP(self)
    case .inverse: try step.layer.inverseVJP(self)
    }
  }
}
