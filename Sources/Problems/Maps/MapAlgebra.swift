import AIPOKernels
import AIPOPriors

/// `f(x) = a·Ax`.
public struct ScaledMap: LinearMap {
  public let map: any LinearMap
  public let factor: Double
  public let normal: NormalForm
  public let nearNormal: Spectrum?

  public var input: ImageShape { map.input }
  public var output: ImageShape { map.output }

  public init(_ map: any LinearMap, by a: Double) throws {
    (self.map, factor) = (map, a)
    switch map.normal {
    case .pixelwise(var diagonal):
      diagonal.withMemory { $0.scale(by: a * a) }
      normal = .pixelwise(diagonal)
    case .dense(var matrix):
      matrix.scale(by: a)
      normal = .dense(matrix)
    case .stationary(let spectrum): normal = .stationary(try spectrum.scaled(by: a * a))
    case .unknown: normal = .unknown
    }
    nearNormal = try map.nearNormal?.scaled(by: a * a)
  }

  public func apply(_ x: Vector, into y: Vector, _ scratch: Scratch) throws {
    try map.apply(x, into: y, scratch)
    y.scale(by: factor, scratch.pool)
  }

  public func adjoint(_ u: Vector, into x: Vector, _ scratch: Scratch) throws {
    try map.adjoint(u, into: x, scratch)
    x.scale(by: factor, scratch.pool)
  }
}

/// `f(x) = (A₁x, A₂x, …)`: several measurements of one image, one after another.
public struct StackedMap: LinearMap {
  public let maps: [any LinearMap]
  public let input: ImageShape
  public let output: ImageShape
  public let normal: NormalForm
  public let nearNormal: Spectrum?

  /// Throws where the maps take images of different shapes, or there is none.
  public init(_ maps: [any LinearMap]) throws {
    self.maps = maps
    input = try ImageShape(common: maps)
    output = .vector(maps.reduce(0) { $0 + $1.output.count })
    // AᵀA is the sum of the parts'.
    var diagonal: Tensor<Double>? = try Tensor(count: input.count)
    for map in maps {
      guard case .pixelwise(let own) = map.normal else {
        diagonal = nil
        break
      }
      diagonal?.withMemory { $0.add(own.view) }
    }
    let near = try Self.sum(maps.compactMap(\.nearNormal), count: maps.count)
    let isStationary = maps.allSatisfy { if case .stationary = $0.normal { true } else { false } }
    if let diagonal {
      normal = .pixelwise(diagonal)
    } else if let near, isStationary {
      normal = .stationary(near)
    } else {
      normal = .unknown
    }
    nearNormal = near
  }

  /// Nil unless there is one of each map.
  private static func sum(_ spectra: [Spectrum], count: Int) throws -> Spectrum? {
    guard spectra.count == count else { return nil }
    var values = spectra[0].values
    values.withMemory { values in
      for spectrum in spectra.dropFirst() { values.add(spectrum.values.view) }
    }
    return Spectrum(spectra[0].transform, values: values)
  }

  public func apply(_ x: Vector, into y: Vector, _ scratch: Scratch) throws {
    precondition(y.count == output.count)
    var next = 0
    for map in maps {
      try map.apply(x, into: y[next..<next + map.output.count], scratch)
      next += map.output.count
    }
  }

  public func adjoint(_ u: Vector, into x: Vector, _ scratch: Scratch) throws {
    precondition(u.count == output.count)
    try scratch.scope {
      let part = try scratch.take(x.count)
      var next = 0
      x.set(0, scratch.pool)
      for map in maps {
        try map.adjoint(u[next..<next + map.output.count], into: part, scratch)
        x.add(part, scratch.pool)
        next += map.output.count
      }
    }
  }
}

/// `f(x) = A₁x + A₂x + …`
public struct SummedMap: LinearMap {
  public let maps: [any LinearMap]
  public let input: ImageShape
  public let output: ImageShape

  /// Throws where the maps take or give different shapes, or there is none.
  public init(_ maps: [any LinearMap]) throws {
    self.maps = maps
    input = try ImageShape(common: maps)
    output = maps[0].output
    for map in maps where map.output != output {
      let found = map.output
      throw ProblemError.shapeMismatch(
        what: "output of a map in a sum", found: [found.height, found.width, found.channels],
        expected: [output.height, output.width, output.channels])
    }
  }

  public func apply(_ x: Vector, into y: Vector, _ scratch: Scratch) throws {
    try sum(into: y, scratch) { map, part in try map.apply(x, into: part, scratch) }
  }

  public func adjoint(_ u: Vector, into x: Vector, _ scratch: Scratch) throws {
    try sum(into: x, scratch) { map, part in try map.adjoint(u, into: part, scratch) }
  }

  private func sum(
    into y: Vector, _ scratch: Scratch, _ write: (any LinearMap, Vector) throws -> Void
  ) throws {
    try scratch.scope {
      let part = try scratch.take(y.count)
      y.set(0, scratch.pool)
      for map in maps {
        try write(map, part)
        y.add(part, scratch.pool)
      }
    }
  }
}

/// `f(x₁, x₂, …) = (Σⱼ A₁ⱼ xⱼ, Σⱼ A₂ⱼ xⱼ, …)`: a matrix of maps, on images one after another as a vector.
public struct BlockMap: LinearMap {
  /// Row by row; nil stands for zero.
  public let blocks: [[(any LinearMap)?]]
  public let input: ImageShape
  public let output: ImageShape
  private let columnStarts: [Int]
  private let rowStarts: [Int]

  /// Throws where rows differ in length, the maps of a column take images of different sizes or those of a row give so, or
  /// a row or column is all zero, which leaves its size unknown.
  public init(_ blocks: [[(any LinearMap)?]]) throws {
    let columns = blocks.first?.count ?? 0
    for row in blocks where row.count != columns || columns == 0 {
      throw ProblemError.shapeMismatch(what: "row of blocks", found: [row.count], expected: [max(columns, 1)])
    }
    func size(_ maps: [(any LinearMap)?], _ what: String, _ shape: (any LinearMap) -> ImageShape) throws
      -> Int
    {
      let sizes = maps.compactMap { $0.map { shape($0).count } }
      guard let first = sizes.first else {
        throw ProblemError.shapeMismatch(what: "\(what) without a map", found: [0], expected: [1])
      }
      for found in sizes where found != first {
        throw ProblemError.shapeMismatch(what: what, found: [found], expected: [first])
      }
      return first
    }
    let widths = try (0..<columns).map { j in try size(blocks.map { $0[j] }, "column of blocks", \.input) }
    let heights = try blocks.map { try size($0, "row of blocks", \.output) }
    func starts(_ sizes: [Int]) -> [Int] { sizes.reduce(into: [0]) { $0.append($0[$0.count - 1] + $1) } }
    (self.blocks, columnStarts, rowStarts) = (blocks, starts(widths), starts(heights))
    guard let d = columnStarts.last, let m = rowStarts.last, m > 0 else {
      throw ProblemError.shapeMismatch(what: "rows of blocks", found: [0], expected: [1])
    }
    (input, output) = (.vector(d), .vector(m))
  }

  public func apply(_ x: Vector, into y: Vector, _ scratch: Scratch) throws {
    try sum(into: y, rowStarts, scratch) { i, part, add in
      for (j, map) in blocks[i].enumerated() {
        guard let map else { continue }
        try map.apply(x[columnStarts[j]..<columnStarts[j + 1]], into: part, scratch)
        add()
      }
    }
  }

  public func adjoint(_ u: Vector, into x: Vector, _ scratch: Scratch) throws {
    try sum(into: x, columnStarts, scratch) { j, part, add in
      for (i, row) in blocks.enumerated() {
        guard let map = row[j] else { continue }
        try map.adjoint(u[rowStarts[i]..<rowStarts[i + 1]], into: part, scratch)
        add()
      }
    }
  }

  /// Fills each stretch of y with the sum of what `write` puts into its part.
  private func sum(
    into y: Vector, _ starts: [Int], _ scratch: Scratch,
    _ write: (_ k: Int, _ part: Vector, _ add: () -> Void) throws -> Void
  ) throws {
    y.set(0, scratch.pool)
    for k in 0..<starts.count - 1 {
      let stretch = y[starts[k]..<starts[k + 1]]
      try scratch.scope {
        let part = try scratch.take(stretch.count)
        try write(k, part) { stretch.add(part, scratch.pool) }
      }
    }
  }
}

extension ImageShape {
  /// The shape of images that all maps take.
  fileprivate init(common maps: [any LinearMap]) throws(ProblemError) {
    guard let first = maps.first else {
      throw .shapeMismatch(what: "list of maps", found: [0], expected: [1])
    }
    for map in maps where map.input != first.input {
      let (found, expected) = (map.input, first.input)
      throw .shapeMismatch(
        what: "input of a map", found: [found.height, found.width, found.channels],
        expected: [expected.height, expected.width, expected.channels])
    }
    self = first.input
  }
}
