import Testing

@testable import AIPOKernels

@Suite struct MemoryTests {
  @Test func tensorsAreValues() throws {
    let one = try Tensor<Float>(shape: [2, 3], elements: [0, 1, 2, 3, 4, 5])
    var two = one
    two[flat: 4] = 7
    #expect(one.elements == [0, 1, 2, 3, 4, 5] && two.elements == [0, 1, 2, 3, 7, 5])
    two.withUnsafeMutableBufferPointer { $0[0] = 9 }
    #expect(one[flat: 0] == 0 && two[flat: 0] == 9)
    var three = two.reshaped([3, 2])
    three[flat: 1] = -1
    #expect(two[flat: 1] == 1 && three.shape == [3, 2])
    // Alone, memory is changed in place.
    let before = three.withUnsafeBufferPointer { $0.baseAddress }
    three[flat: 0] = 1
    #expect(three.withUnsafeBufferPointer { $0.baseAddress } == before)
    #expect(UInt(bitPattern: before) % 64 == 0)
  }

  @Test func tensorEquality() throws {
    let a = try Tensor<Double>(shape: [2], elements: [.nan, 1])
    #expect(try a == Tensor(shape: [2], elements: [.nan, 1]))
    #expect(try a != Tensor(shape: [2], elements: [.nan, 2]))
    #expect(try a != Tensor(shape: [2, 1], elements: [.nan, 1]))
    #expect(try Tensor<Double>(shape: [1], elements: [0]) != Tensor(shape: [1], elements: [-0.0]))
    #expect(try Tensor<Double>(shape: [0, 3]) == Tensor(shape: [0, 3]))
  }

  @Test func tensorRowsAndConversion() throws {
    let a = try Tensor<Double>(shape: [3, 2], elements: [0, 1, 2, 3, 4, 0.1])
    #expect(try a.rows([2, 0, 2]).elements == [4, 0.1, 0, 1, 4, 0.1])
    #expect(try a.rows([Int]()).shape == [0, 2])
    #expect(try a.converted(to: Float.self).elements == [0, 1, 2, 3, 4, 0.1 as Float])
    #expect(try Tensor<Float>(shape: []).count == 1)
    #expect(a.rowLength == 2)
  }

  @Test func tensorErrors() {
    #expect(throws: TensorError.shapeMismatch(what: "element list", found: [3], expected: [2, 2])) {
      try Tensor<Float>(shape: [2, 2], elements: [1, 2, 3])
    }
    #expect(throws: TensorError.self) { try Tensor<Float>(shape: [Int.max, 2]) }
    #expect(throws: TensorError.self) { try Tensor<Double>(shape: [Int.max / 8]) }
    #expect(TensorError.outOfMemory(bytes: 64).description == "not enough memory for an array of 64 bytes")
  }

  @Test func workspaceGivesBackAndReuses() throws {
    let workspace = Workspace<Float>()
    func pass() throws -> [UnsafeMutablePointer<Float>] {
      try workspace.scope {
        let a = try workspace.take(100)
        let inner = try workspace.scope {
          let b = try workspace.take(50)
          let c = try workspace.take(1000)
          b.fill(1)
          c.fill(2)
          return [b.base, c.base]
        }
        let d = try workspace.take(50)
        a.fill(3)
        d.fill(4)
        #expect(a.elements.allSatisfy { $0 == 3 } && d.elements.allSatisfy { $0 == 4 })
        #expect(UInt(bitPattern: d.base) % 64 == 0 && a.count == 100)
        return [a.base, d.base] + inner
      }
    }
    let first = try pass()
    let capacity = workspace.capacity
    #expect(capacity >= 1150)
    for _ in 0..<10 { #expect(try pass() == first) }
    #expect(workspace.capacity == capacity)
    // What is alive at once doesn't overlap, also after growing.
    try workspace.scope {
      let pieces = try (1...40).map { try workspace.take($0 * 7) }
      for (k, piece) in pieces.enumerated() { piece.fill(Float(k)) }
      for (k, piece) in pieces.enumerated() { #expect(piece.elements.allSatisfy { $0 == Float(k) }) }
    }
    struct Stop: Error {}
    #expect(throws: Stop.self) {
      try workspace.scope {
        _ = try workspace.take(10)
        throw Stop()
      }
    }
    #expect(try pass() == first)
  }

  @Test func inverses() throws {
    for c in [1, 2, 5, 33] {
      let w = normals(c * c, seed: UInt64(c))
      let (inverse, logAbsDet) = try invertMatrix(w, size: c)
      var worst = 0.0
      for i in 0..<c {
        for j in 0..<c {
          let product = (0..<c).reduce(0.0) { $0 + w[i * c + $1] * inverse[$1 * c + j] }
          worst = max(worst, (product - (i == j ? 1 : 0)).magnitude)
        }
      }
      #expect(worst < 1e-11, "\(c): \(worst)")
      #expect(abs(try invertMatrix(inverse, size: c).logAbsDet + logAbsDet) < 1e-9)
    }
    #expect(abs(try invertMatrix([0, 2, -3, 1], size: 2).logAbsDet - 1.791759469228055) < 1e-15)
    // The product of the pivots would underflow: 1e-300 thrice.
    let tiny = try invertMatrix([1e-300, 0, 0, 0, 1e-300, 0, 0, 0, 1e-300], size: 3)
    #expect(abs(tiny.logAbsDet + 3 * 690.7755278982137) < 1e-9)
  }

  @Test func singularMatrices() {
    for w in [[1.0, 2, 2, 4], [0, 0, 0, 0], [Double.leastNonzeroMagnitude, 0, 0, 1]] {
      #expect(throws: SingularMatrix(description: "the matrix is singular at working precision")) {
        try invertMatrix(w, size: 2)
      }
    }
    for bad in [Double.nan, .infinity] {
      #expect(throws: SingularMatrix(description: "an input is not finite")) {
        try invertMatrix([1, bad, 0, 1], size: 2)
      }
    }
  }

  #if os(Linux)
    /// Of the process's own group and all around it, as both versions of the kernel's interface tell them.
    @Test func limitsOfControlGroups() {
      func limits(_ files: [String: String]) -> [Int] { ControlGroup.memoryLimits { files[$0] } }
      let one = "5:cpu,cpuacct:/a\n4:memory:/job/inner\n0::/\n"
      #expect(
        limits([
          "/proc/self/cgroup": one, "/sys/fs/cgroup/memory/job/inner/memory.limit_in_bytes": "268435456\n",
          "/sys/fs/cgroup/memory/job/memory.limit_in_bytes": "9223372036854771712\n",
          "/sys/fs/cgroup/memory/memory.limit_in_bytes": "1073741824\n",
        ]) == [268_435_456, 9_223_372_036_854_771_712, 1_073_741_824])
      let two = "0::/user.slice/a:b\n"
      #expect(
        limits([
          "/proc/self/cgroup": two, "/sys/fs/cgroup/user.slice/a:b/memory.max": "max\n",
          "/sys/fs/cgroup/user.slice/memory.max": "536870912\n", "/sys/fs/cgroup/memory.max": "junk",
        ]) == [536_870_912])
      #expect(limits(["/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/memory.max": "77\n"]) == [77])
      #expect(limits(["/proc/self/cgroup": "nonsense"]).isEmpty && limits([:]).isEmpty)
    }
  #endif
}
