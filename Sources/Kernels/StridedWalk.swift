/// Calls `body` with the place `Σ iₖ·strides[k]` of every element of an array, the last index running fastest.
@inlinable public func forEachPlace(shape: [Int], strides: [Int], _ body: (_ place: Int) -> Void) {
  precondition(shape.count == strides.count)
  var index = [Int](repeating: 0, count: shape.count)
  var place = 0
  for _ in 0..<shape.reduce(1, *) {
    body(place)
    for axis in shape.indices.reversed() {
      index[axis] += 1
      place += strides[axis]
      if index[axis] < shape[axis] { break }
      place -= strides[axis] * shape[axis]
      index[axis] = 0
    }
  }
}
