/// `aᵀb`, summed in a fixed order.
package func dot(_ a: [Double], _ b: [Double]) -> Double {
  precondition(a.count == b.count)
  return a.withUnsafeBufferPointer { a in
    b.withUnsafeBufferPointer { b in
      var s0 = 0.0
      var s1 = 0.0
      var s2 = 0.0
      var s3 = 0.0
      var i = 0
      while i + 4 <= a.count {
        s0 += a[i] * b[i]
        s1 += a[i + 1] * b[i + 1]
        s2 += a[i + 2] * b[i + 2]
        s3 += a[i + 3] * b[i + 3]
        i += 4
      }
      while i < a.count {
        s0 += a[i] * b[i]
        i += 1
      }
      return (s0 + s1) + (s2 + s3)
    }
  }
}

/// `‖a‖₂`.
package func norm(_ a: [Double]) -> Double { dot(a, a).squareRoot() }

/// `a + scale·b`.
package func adding(_ a: [Double], _ b: [Double], scaledBy scale: Double) -> [Double] {
  precondition(a.count == b.count)
  var result = a
  for i in result.indices { result[i] += scale * b[i] }
  return result
}
