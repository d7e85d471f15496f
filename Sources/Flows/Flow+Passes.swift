import AIPOKernels

/// A batch's way through the layers, there and back.
extension Flow {
  /// Calls `body` for parts of a batch, one after the other, as the plan says.
  func forParts(
    _ count: Int, _ plan: FlowPlan, _ body: (_ images: Range<Int>) throws -> Void
  ) throws {
    var start = 0
    repeat {
      let end = min(start + plan.imagesAtOnce, count)
      try body(start..<end)
      start = end
    } while start < count
  }

  /// Runs `body` on passes that together hold the images: one on each thread with its share of them, or one on all
  /// threads, as the plan says.
  func share(
    _ images: Range<Int>, _ scratch: FlowScratch<Scalar>, _ plan: FlowPlan,
    _ body: (_ pass: FlowPass<Scalar>, _ images: Range<Int>) throws -> Void
  ) throws {
    let count = images.count
    guard plan.isShared else { return try body(scratch.whole, images) }
    // What is left of a batch may be fewer images than threads.
    let lanes = scratch.lanes.prefix(count)
    try pool.run(lanes.count) { k, _ in
      let (start, end) = (count * k / lanes.count, count * (k + 1) / lanes.count)
      try body(lanes[k], images.lowerBound + start..<images.lowerBound + end)
    }
  }

  /// Begins a pass of some images of a batch.
  func begin(_ pass: FlowPass<Scalar>, _ images: Range<Int>, _ plan: FlowPlan, atLatents: Bool = false) throws
  {
    try pass.begin(
      count: images.count, from: route.first, to: route.last, height: route.tallest, atLatents: atLatents,
      plan: plan)
    if let condition = net.condition { pass.setNoise(noise, of: images, condition) }
  }

  /// Through all layers; the pass holds the values (or the latents) and then the latents (or the values).
  func go(_ direction: Kernel<Scalar>.Direction, _ pass: FlowPass<Scalar>) throws {
    switch direction {
    case .forward: for step in net.steps { try pass.through(step, .forward) }
    case .inverse: for step in net.steps.reversed() { try pass.through(step, .inverse) }
    }
  }

  /// Back through all layers that `go` went through, or that would have led to the values that the pass holds. Each
  /// step's part of `fresh` is zeroed when the way comes to it, rather than all at once, so that its sums are made in
  /// the cache.
  func goBack(
    _ direction: Kernel<Scalar>.Direction, _ pass: FlowPass<Scalar>, fresh: Memory<Scalar>? = nil
  ) throws {
    func back(_ step: FlowNet<Scalar>.Step) throws {
      if let fresh {
        let values = net.part(of: fresh, step)
        try pool.split(values.count, minimum: 1 << 16) { range, _ in values[range].fill(0) }
      }
      try pass.back(through: step, direction)
    }
    switch direction {
    case .forward: for step in net.steps.reversed() { try back(step) }
    case .inverse: for step in net.steps { try back(step) }
    }
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
    for size in route.latentSizes {
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
  fileprivate func through(_ step: FlowNet<Scalar>.Step, _ direction: Kernel<Scalar>.Direction) throws {
    switch direction {
    case .forward: try step.layer.forward(self)
    case .inverse: try step.layer.inverse(self)
    }
    if kept != .nothing, step.keeping == nil { try keep(values) }
  }

  fileprivate func back(through step: FlowNet<Scalar>.Step, _ direction: Kernel<Scalar>.Direction) throws {
    if kept != .nothing, step.keeping == nil { values.copy(from: recall()) }
    switch direction {
    case .forward: try step.layer.forwardVJP(self)
    case .inverse: try step.layer.inverseVJP(self)
    }
  }
}
