import CAIPOKernels

/// A view of the values of an image, of measurements, of a gradient: d doubles that somebody else owns (a `Tensor`, a
/// `Scratch`). Solvers, priors, maps and noise laws hand each other nothing else.
///
/// The verbs below work in place and never allocate. Long vectors are cut into blocks of a fixed length, so that values
/// are the same bits on any number of threads; sums are in a fixed order, four interleaved partial sums a block. Where a pool
/// has `strips` a vector is this process's part of one, and a sum is that over all parts, exact and then rounded.
public typealias Vector = Memory<Double>

extension Memory<Double> {
  /// Elements of a block.
  @usableFromInline static var block: Int { 1 << 15 }

  /// Runs `body` for every block.
  @inlinable @inline(__always)
  func blocks(_ pool: ThreadPool?, _ body: (_ range: Range<Int>, _ block: Int) -> Void) {
    precondition(first == 0)
    let blocks = (count + Self.block - 1) / Self.block
    guard let pool, blocks > 1 else {
      for k in 0..<blocks { body(k * Self.block..<min((k + 1) * Self.block, count), k) }
      return
    }
    // `body` throws nothing, so that the pool doesn't.
    try! pool.run(blocks) { k, _ in body(k * Self.block..<min((k + 1) * Self.block, count), k) }
  }

  /// The sum of `body` over blocks, in their order.
  @inlinable @inline(__always)
  func sum(_ pool: ThreadPool?, _ body: (_ range: Range<Int>) -> Double) -> Double {
    let blocks = (count + Self.block - 1) / Self.block
    if blocks == 1 { return body(0..<count) }
    return withUnsafeTemporaryAllocation(of: Double.self, capacity: max(blocks, 1)) { partial in
      self.blocks(pool) { range, k in partial[k] = body(range) }
      return partial[..<blocks].reduce(0, +)
    }
  }

  /// The sum of a term an element: in order within a block, or exact where the vector is a part of one.
  @inlinable @inline(__always)
  func sumEach(_ pool: ThreadPool?, _ term: (Int) -> Double) -> Double {
    guard let pool, let strips = pool.strips else {
      return sum(pool) { range in
        var s = 0.0
        for i in range { s += term(i) }
        return s
      }
    }
    return strips.total(exactSum(pool, term))
  }

  /// The exact sum of a term an element.
  @inlinable @inline(__always)
  func exactSum(_ pool: ThreadPool, _ term: (Int) -> Double) -> ExactSum {
    let blocks = (count + Self.block - 1) / Self.block
    var partial = [ExactSum](repeating: ExactSum(), count: blocks)
    partial.withUnsafeMutableBufferPointer { partial in
      self.blocks(pool) { range, k in partial[k].add(range, term) }
    }
    return partial.reduce(into: ExactSum()) { $0.add($1) }
  }

  /// Values of the whole vector that this is a part of.
  public func wholeCount(_ pool: ThreadPool?) -> Int {
    pool?.strips.map { $0.place(of: count).whole } ?? count
  }

  /// `self ← value`
  public func set(_ value: Double, _ pool: ThreadPool? = nil) {
    blocks(pool) { range, _ in (base + range.lowerBound).update(repeating: value, count: range.count) }
  }

  /// `self ← x`
  public func set(_ x: Vector, _ pool: ThreadPool? = nil) {
    precondition(x.count == count && x.first == 0)
    blocks(pool) { range, _ in
      (base + range.lowerBound).update(from: x.base + range.lowerBound, count: range.count)
    }
  }

  /// `self ← a·x + b·self`; b = 0 doesn't read self. x may be self.
  public func set(_ a: Double, _ x: Vector, plus b: Double, _ pool: ThreadPool? = nil) {
    precondition(x.count == count && x.first == 0)
    blocks(pool) { range, _ in
      ck_axpby(Double.element, Int64(range.count), a, x.base + range.lowerBound, b, base + range.lowerBound)
    }
  }

  /// `self ← self + a·x`
  public func add(_ x: Vector, times a: Double = 1, _ pool: ThreadPool? = nil) { set(a, x, plus: 1, pool) }

  /// `selfᵢ ←` standard normal draws.
  public func setNormals(_ random: inout Philox) { for i in 0..<count { self[i] = random.normal() } }

  /// `selfᵢ ←` 1 or −1, each as probable: a probe of a trace.
  public func setSigns(_ random: inout Philox, _ pool: ThreadPool? = nil) {
    let (start, whole) = pool?.strips?.place(of: count) ?? (0, count)
    random.skip(start)
    for i in 0..<count { self[i] = random.next() & 1 == 0 ? 1 : -1 }
    random.skip(whole - start - count)
  }

  /// `self ← x − y`
  public func setDifference(_ x: Vector, _ y: Vector, _ pool: ThreadPool? = nil) {
    setEach(pool, x, y) { $0 - $1 }
  }

  /// Moves what lies outside of a range to its nearer end.
  public func clamp(to range: ClosedRange<Double>, _ pool: ThreadPool? = nil) {
    setEach(pool) { min(max($0, range.lowerBound), range.upperBound) }
  }

  /// `self ← a·self`
  public func scale(by a: Double, _ pool: ThreadPool? = nil) { set(a, self, plus: 0, pool) }

  /// `selfᵀ x`
  public func dot(_ x: Vector, _ pool: ThreadPool? = nil) -> Double {
    precondition(x.count == count && x.first == 0 && first == 0)
    if pool?.strips != nil { return sumEach(pool) { base[$0] * x.base[$0] } }
    return sum(pool) { ck_dot(Double.element, Int64($0.count), base + $0.lowerBound, x.base + $0.lowerBound) }
  }

  /// `‖self‖₂`
  public func norm(_ pool: ThreadPool? = nil) -> Double { dot(self, pool).squareRoot() }

  /// `‖self − x‖₂`
  public func distance(to x: Vector, _ pool: ThreadPool? = nil) -> Double {
    precondition(x.count == count && x.first == 0)
    return sumEach(pool) { i in
      let difference = base[i] - x.base[i]
      return difference * difference
    }.squareRoot()
  }

  /// The sum of the elements.
  public func total(_ pool: ThreadPool? = nil) -> Double { total(pool) { $0 } }

  /// The sum of a function of the elements.
  @inlinable @inline(__always)
  public func total(_ pool: ThreadPool? = nil, _ function: (Double) -> Double) -> Double {
    sumEach(pool) { function(base[$0]) }
  }

  /// The least and the greatest element; of none, infinity and −infinity.
  public func extent(_ pool: ThreadPool? = nil) -> (least: Double, greatest: Double) {
    var (least, greatest) = (Double.infinity, -Double.infinity)
    for i in 0..<count {
      least = min(least, base[i])
      greatest = max(greatest, base[i])
    }
    return pool?.strips?.extent(of: (least, greatest)) ?? (least, greatest)
  }

  /// Whether all elements are finite.
  public func isFinite(_ pool: ThreadPool? = nil) -> Bool {
    // Zero times what isn't finite is NaN.
    let isFinite =
      sum(pool) { range in
        var s = 0.0
        for i in range { s += 0 * base[i] }
        return s
      } == 0
    return pool?.strips.map { !$0.any(!isFinite) } ?? isFinite
  }

  /// Whether all elements are the same numbers.
  public func equals(_ x: Vector) -> Bool {
    precondition(x.count == count && x.first == 0)
    for i in 0..<count where base[i] != x.base[i] { return false }
    return true
  }

  /// `selfᵢ ← f(selfᵢ)`
  @inlinable @inline(__always)
  public func setEach(_ pool: ThreadPool? = nil, _ function: (Double) -> Double) {
    setEach(pool, self, function)
  }

  /// `selfᵢ ← f(xᵢ)`. x may be self.
  @inlinable @inline(__always)
  public func setEach(_ pool: ThreadPool? = nil, _ x: Vector, _ function: (Double) -> Double) {
    precondition(x.count == count && x.first == 0)
    blocks(pool) { range, _ in for i in range { base[i] = function(x.base[i]) } }
  }

  /// `selfᵢ ← f(xᵢ, yᵢ)`. x and y may be self.
  @inlinable @inline(__always)
  public func setEach(
    _ pool: ThreadPool? = nil, _ x: Vector, _ y: Vector, _ function: (Double, Double) -> Double
  ) {
    precondition(x.count == count && y.count == count && x.first == 0 && y.first == 0)
    blocks(pool) { range, _ in for i in range { base[i] = function(x.base[i], y.base[i]) } }
  }

  /// `selfᵢ ← f(xᵢ, yᵢ).value`; gives the sum of the terms. x and y may be self.
  @inlinable @inline(__always)
  public func setEachSumming(
    _ x: Vector, _ y: Vector, _ pool: ThreadPool? = nil,
    _ function: (Double, Double) -> (value: Double, term: Double)
  ) -> Double {
    precondition(x.count == count && y.count == count && x.first == 0 && y.first == 0)
    return sumEach(pool) { i in
      let (value, term) = function(x.base[i], y.base[i])
      base[i] = value
      return term
    }
  }

  /// `self ← x` in another precision.
  public func set<S: KernelScalar>(
    converting x: Memory<S>, times factor: Double = 1, _ pool: ThreadPool? = nil
  ) {
    precondition(x.count == count && x.first == 0)
    if let x = x as? Memory<Float> {
      blocks(pool) { range, _ in for i in range { base[i] = factor * Double(x.base[i]) } }
    } else if let x = x as? Vector {
      set(factor, x, plus: 0, pool)
    }
  }

  /// Writes the elements in another precision.
  public func convert<S: KernelScalar>(into y: Memory<S>, _ pool: ThreadPool? = nil) {
    precondition(y.count == count && y.first == 0)
    if let y = y as? Memory<Float> {
      blocks(pool) { range, _ in for i in range { y.base[i] = Float(base[i]) } }
    } else if let y = y as? Vector {
      y.set(self, pool)
    }
  }
}

extension Tensor<Double> {
  /// A vector of these values, `[count]`.
  public init(_ values: [Double]) throws(TensorError) {
    try self.init(shape: [values.count], elements: values)
  }

  /// A vector of zeros, `[count]`.
  public init(count: Int) throws(TensorError) { try self.init(shape: [count]) }

  /// The elements behind index i of the first axis, to be read; as `view`.
  public func row(_ i: Int) -> Vector { view[i * rowLength..<(i + 1) * rowLength] }

  /// The elements to be read, as long as this tensor lives and isn't written: it must have a name, as what a call gives
  /// ends with the expression. Writing goes by `withMemory`.
  public var view: Vector { withUnsafeBufferPointer { Vector(reading: $0) } }
}
