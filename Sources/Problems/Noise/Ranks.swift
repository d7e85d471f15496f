import AIPOKernels

extension Vector {
  /// The magnitude at place k, from 0 on, of all magnitudes in ascending order; NaNs come last. Nothing is moved: the
  /// bits of a magnitude are in its order as an integer, and are found eight at a time, the highest first.
  func magnitude(ranked k: Int, _ pool: ThreadPool? = nil) -> Double {
    precondition(k >= 0 && k < wholeCount(pool))
    return withUnsafeMutableBufferPointer { values in
      withUnsafeTemporaryAllocation(of: Int.self, capacity: 256) { numbers in
        var known: UInt64 = 0
        var mask: UInt64 = 0
        // The place among those whose bits are the known ones.
        var rank = k
        for shift in stride(from: 56, through: 0, by: -8) {
          numbers.initialize(repeating: 0)
          for value in values where value.magnitude.bitPattern & mask == known {
            numbers[Int(truncatingIfNeeded: value.magnitude.bitPattern >> UInt64(shift)) & 255] += 1
          }
          pool?.strips?.sum(numbers)
          var digit = 0
          while digit < 255, rank >= numbers[digit] {
            rank -= numbers[digit]
            digit += 1
          }
          known |= UInt64(digit) << UInt64(shift)
          mask |= 255 << UInt64(shift)
        }
        return Double(bitPattern: known)
      }
    }
  }
}
