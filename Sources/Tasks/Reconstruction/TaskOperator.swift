import AIPOImaging
import AIPOInterchange
import AIPOKernels
import AIPOPriors
import AIPOProblems

/// What a task measures of an image, apart from masks: its files read once, and a map for images of any shape.
package struct TaskOperator {
  private enum Form {
    case identity
    /// `[m, d]`, and the name of its file.
    case matrix(Tensor<Double>, path: String)
    case sparse(SparseMatrix, path: String)
    case random(EnsembleChoice, measurements: Int)
    case blur(BlurKernel, Boundary)
    /// Row by row of a grid.
    case varyingBlur([BlurKernel], rows: Int, columns: Int, VaryingBlur.Order, Boundary)
    case resampling(ResamplingKernel, factor: Int, phase: Double?, Boundary)
    /// A kernel that is no product of a line with itself, and then every k-th pixel from `first` on.
    case blurAndSubsampling(BlurKernel, factor: Int, first: Int, Boundary)
    case filterArray(ColourPattern)
    case mixing(Matrix?)
    /// With no detectors, as many as see all of an image.
    case scan(ScanGeometry)
    /// With the mask of a file, `[h, w]`, and the coils' sensitivities.
    case kspace(SamplingChoice, mask: Tensor<Double>?, coils: Tensor<Double>?)
    case trajectory([SIMD2<Double>], coils: Tensor<Double>?)
    case codedDiffraction(patterns: Int)
  }

  private let form: Form
  /// Whether what the form gives is squared.
  private let isSquared: Bool
  private let seed: UInt64
  /// What looks like a mistake.
  private(set) var advices: [Advice] = []
  /// Some weight by which pixels are summed, below 0; nil where there is none.
  private(set) var negativeWeight: Double?
  /// The file that the weights are from.
  private(set) var path: String?

  /// Reads what the task names.
  package init(_ task: ReconstructionTask) throws {
    seed = task.seed
    isSquared = task.kind == .phase
    let boundary = task.boundary ?? .reflect
    switch task.kind {
    case .denoise, .inpaint, nil: form = .identity
    case .sense, .phase:
      if let path = task.operatorFile {
        self.path = path
        if let matrix = try SparseFile.read(path) {
          form = .sparse(matrix, path: path)
          negativeWeight = matrix.values.filter { $0 < 0 }.min()
          try Self.requireModerate(matrix.values, path)
        } else {
          form = .matrix(try Self.matrix(path), path: path)
        }
      } else if case .coded(let patterns) = task.ensemble {
        form = .codedDiffraction(patterns: patterns)
      } else {
        form = .random(task.ensemble ?? .gaussian, measurements: task.measurements ?? 1)
        negativeWeight = -1
      }
    case .deblur:
      if case .file(let file) = task.kernel, let grid = try Self.kernelGrid(file) {
        path = file
        form = .varyingBlur(
          grid.kernels, rows: grid.rows, columns: grid.columns, task.kernelOf ?? .measurement, boundary)
      } else {
        form = .blur(try Self.kernel(task.kernel, &path), boundary)
      }
    case .superresolve:
      let factor = task.scale ?? 2
      switch task.kernel {
      case .bicubic, nil:
        form = .resampling(.bicubic, factor: factor, phase: task.phase, boundary)
        negativeWeight = -0.0625
      case .bilinear: form = .resampling(.bilinear, factor: factor, phase: task.phase, boundary)
      case .box: form = .resampling(.box, factor: factor, phase: task.phase, boundary)
      case .gaussian(let deviation):
        form = .resampling(.gaussian(deviation: deviation), factor: factor, phase: task.phase, boundary)
      case .motion, .disk, .file:
        let kernel = try Self.kernel(task.kernel, &path)
        // The kernel's middle lies over the phase, or half a pixel before it.
        let phase = task.phase ?? Double(factor - 1) / 2
        func place(_ n: Int) -> Int { Int((phase - Double(n - 1) / 2).rounded(.down)) }
        let first = Int(phase)
        form = .blurAndSubsampling(
          try kernel.centered(row: first - place(kernel.height), column: first - place(kernel.width)),
          factor: factor, first: first, boundary)
      }
    case .mri:
      let coils = try task.coils.map { try ArrayFile.read($0, as: Double.self) }
      if let path = task.trajectory {
        form = .trajectory(try Self.frequencies(path), coils: coils)
      } else {
        guard let choice = task.kspaceMask else { preconditionFailure("the check asks for it") }
        var mask: Tensor<Double>?
        if case .file(let path) = choice { mask = try Self.matrix(path) }
        form = .kspace(choice, mask: mask, coils: coils)
      }
      negativeWeight = -1
    case .ct: form = .scan(try Self.geometry(task))
    case .demosaic: form = .filterArray(task.pattern ?? ColourPattern("RGGB")!)
    case .unmix:
      switch task.mixing {
      case .grey, nil: form = .mixing(nil)
      case .file(let path):
        let array = try Self.matrix(path)
        form = .mixing(
          try Matrix(rows: array.shape[0], columns: array.shape[1], rowMajor: array.elements))
        self.path = path
        negativeWeight = array.elements.filter { $0 < 0 }.min()
      }
    }
    switch form {
    case .matrix(let array, _): negativeWeight = array.elements.filter { $0 < 0 }.min()
    case .blur(let kernel, _), .blurAndSubsampling(let kernel, _, _, _):
      negativeWeight = kernel.values.filter { $0 < 0 }.min()
      advices += sumAdvice([kernel])
    case .varyingBlur(let kernels, _, _, _, _):
      negativeWeight = kernels.flatMap(\.values).filter { $0 < 0 }.min()
      advices += sumAdvice(kernels)
    default: break
    }
    // Intensities are positive whatever A.
    if isSquared { negativeWeight = nil }
  }

  /// Of kernels from a file that make an image brighter or darker, the first of them.
  private func sumAdvice(_ kernels: [BlurKernel]) -> [Advice] {
    guard let path, let sum = kernels.map(\.sum).first(where: { ($0 - 1).magnitude > 0.01 }) else {
      return []
    }
    return [
      Advice(
        "kernelSum", of: path,
        "the kernel's weights sum to \(Advice.number(sum)), so that it changes an image's brightness: if it "
          + "shouldn't, divide it by its sum")
    ]
  }

  /// Whether a measurement is a picture.
  package var isPicture: Bool {
    switch form {
    case .matrix, .sparse, .random, .scan, .kspace, .trajectory, .codedDiffraction: false
    default: true
    }
  }

  /// Whether a measurement is a picture like the image, with its noise in every pixel.
  package var showsPixels: Bool {
    if case .filterArray = form { false } else { isPicture }
  }

  /// Whether ranks can share what is measured, each some rows.
  var canBeShared: Bool {
    switch form {
    case .identity, .blur: !isSquared
    default: false
    }
  }

  /// The map of this rank's strip of an image, and the rows of what is measured that it has.
  func strip(_ own: ImageShape, _ strips: Strips) throws -> (map: any LinearMap, measured: Range<Int>) {
    guard case .blur(let kernel, let boundary) = form else { return (IdentityMap(own), strips.rows()) }
    let map = try ConvolutionMap(own, kernel: kernel, boundary: boundary, strips: strips)
    return (map, map.measuredStrips.rows())
  }

  /// The shape of what is measured of an image.
  package func measured(_ image: ImageShape) -> ImageShape {
    var shape = image
    switch form {
    case .identity: break
    case .matrix(let array, _): return .vector(array.shape[0])
    case .sparse(let matrix, _): return .vector(matrix.rows)
    case .random(_, let m): return .vector(m)
    case .trajectory(let frequencies, let coils):
      return .vector(2 * frequencies.count * (coils?.shape.first ?? 1))
    case .codedDiffraction(let patterns): return .vector(patterns * shape.height * shape.width)
    case .kspace(_, _, let coils):
      let taken = taken(shape).count { $0 }
      return .vector(2 * taken * (coils?.shape.first ?? 1))
    case .scan(let geometry):
      let whole = Self.whole(geometry, shape)
      return ImageShape(height: whole.angles.count, width: whole.detectors, channels: shape.channels)
    case .varyingBlur(let kernels, _, _, _, let boundary):
      if boundary == .valid {
        shape.height -= kernels[0].height - 1
        shape.width -= kernels[0].width - 1
      }
    case .blur(let kernel, let boundary):
      if boundary == .valid {
        shape.height -= kernel.height - 1
        shape.width -= kernel.width - 1
      }
    case .resampling(_, let k, _, _), .blurAndSubsampling(_, let k, _, _):
      shape.height = (shape.height + k - 1) / k
      shape.width = (shape.width + k - 1) / k
    case .filterArray: shape.channels = 1
    case .mixing(let matrix): shape.channels = matrix?.rows ?? 1
    }
    return shape
  }

  /// The shape of the image of which something of this shape is measured; the largest where there are several.
  package func image(measuredAs shape: ImageShape) -> ImageShape {
    var image = shape
    switch form {
    case .identity, .matrix, .sparse, .random, .scan, .kspace, .trajectory, .codedDiffraction: break
    case .varyingBlur(let kernels, _, _, _, let boundary):
      if boundary == .valid {
        image.height += kernels[0].height - 1
        image.width += kernels[0].width - 1
      }
    case .blur(let kernel, let boundary):
      if boundary == .valid {
        image.height += kernel.height - 1
        image.width += kernel.width - 1
      }
    case .resampling(_, let k, _, _), .blurAndSubsampling(_, let k, _, _):
      image.height *= k
      image.width *= k
    case .filterArray: image.channels = 3
    case .mixing(let matrix): image.channels = matrix?.columns ?? 3
    }
    return image
  }

  /// The map of images of a shape. Throws where they can't be measured so.
  package func map(_ shape: ImageShape, _ scratch: Scratch = Scratch()) throws -> any Map {
    if case .codedDiffraction(let patterns) = form {
      guard shape.channels <= 2 else {
        throw TaskError(
          .data,
          "images have \(shape.channels) channels, and --ensemble fourier:N takes one, or two of a complex image: --grey"
        )
      }
      return try IntensityMap.codedDiffraction(shape, patterns: patterns, seed: seed)
    }
    let map = try linearMap(shape, scratch)
    return isSquared ? IntensityMap(map, isComplex: false) : map
  }

  private func linearMap(_ shape: ImageShape, _ scratch: Scratch) throws -> any LinearMap {
    switch form {
    case .codedDiffraction: preconditionFailure("intensities have a map of their own")
    case .identity: return IdentityMap(shape)
    case .matrix(let array, let path):
      try Self.requireColumns(array.shape[1], of: array.shape[0], shape, path)
      let columns = array.shape[1]
      return try array.withUnsafeBufferPointer { values in
        try DenseMap(
          try Matrix(rows: array.shape[0], columns: columns) { values[$0 * columns + $1] }, input: shape)
      }
    case .sparse(let matrix, let path):
      try Self.requireColumns(matrix.columns, of: matrix.rows, shape, path)
      return try SparseMap(matrix, input: shape)
    case .random(let ensemble, let m):
      if case .transform(let transform) = ensemble {
        return try TransformSensing(transform, measurements: m, input: shape, seed: seed)
      }
      return try DenseMap.gaussian(measurements: m, input: shape, seed: seed)
    case .kspace(_, let mask, let coils):
      if let mask, mask.shape != [shape.height, shape.width] {
        throw TaskError(
          .data, "the mask of k-space has shape \(mask.shape), expected [\(shape.height), \(shape.width)]")
      }
      return try FourierSampling(shape, taken: taken(shape), sensitivities: coils)
    case .scan(let geometry): return try Tomography(shape, geometry: Self.whole(geometry, shape))
    case .trajectory(let frequencies, let coils):
      return try TrajectorySampling(shape, frequencies: frequencies, sensitivities: coils, scratch)
    case .varyingBlur(let kernels, let rows, let columns, let order, let boundary):
      return try VaryingBlur(
        shape, kernels: kernels, rows: rows, columns: columns, order: order, boundary: boundary, scratch)
    case .blur(let kernel, let boundary):
      return try ConvolutionMap(shape, kernel: kernel, boundary: boundary, scratch)
    case .resampling(let kernel, let factor, let phase, let boundary):
      return try Resampling(
        shape, factor: factor, kernel: kernel, phase: phase, boundary: boundary, scratch)
    case .blurAndSubsampling(let kernel, let factor, let first, let boundary):
      return try ComposedMap(
        try Subsampling(shape, factor: factor, first: first),
        after: try ConvolutionMap(shape, kernel: kernel, boundary: boundary, scratch))
    case .filterArray(let pattern): return try ColourFilterArray(shape, pattern: pattern)
    case .mixing(let matrix):
      return try matrix.map { try ChannelMixing(shape, mixing: $0) } ?? ChannelMixing.grey(shape)
    }
  }

  /// The samples of k-space that are taken.
  private func taken(_ shape: ImageShape) -> [Bool] {
    guard case .kspace(let choice, let mask, _) = form else { return [] }
    if let mask { return mask.elements.map { $0 != 0 } }
    guard case .pattern(let pattern) = choice else { return [] }
    return pattern.samples(height: shape.height, width: shape.width, seed: seed)
  }

  /// What a map measures of an array in which all of k-space is: `[coils, h, w, 2]`, or `[h, w, 2]` of one coil. Samples along a
  /// trajectory, `[coils, m, 2]`, and diffraction patterns, `[n, h, w]`, in a row. Others as they are.
  func measured(_ array: Tensor<Double>, by map: any Map) throws -> Tensor<Double> {
    if case .codedDiffraction(let patterns) = form,
      array.shape == [patterns, map.input.height, map.input.width]
    {
      return array.reshaped([array.count])
    }
    if let map = map as? TrajectorySampling, array.count == map.output.count, array.shape.last == 2 {
      return array.reshaped([array.count])
    }
    guard let map = map as? FourierSampling else { return array }
    let (h, w) = (map.input.height, map.input.width)
    guard array.shape == [map.coils, h, w, 2] || map.coils == 1 && array.shape == [h, w, 2] else {
      return array
    }
    return try Tensor(
      (0..<map.coils).flatMap { coil in
        map.samples.flatMap { sample in
          (0..<2).map { array[flat: 2 * (coil * h * w + sample) + $0] }
        }
      })
  }

  /// The shape of images of d values in a row for a matrix of d columns; nil of others.
  fileprivate var row: ImageShape? {
    switch form {
    case .matrix(let array, _): .vector(array.shape[1])
    case .sparse(let matrix, _): .vector(matrix.columns)
    default: nil
    }
  }

  // MARK: Reading

  /// Of an operator.
  private static let largestEntry = 1e100

  private static func matrix(_ path: String) throws -> Tensor<Double> {
    let array = try ArrayFile.read(path, as: Double.self)
    guard array.shape.count == 2, array.shape[0] > 0, array.shape[1] > 0 else {
      throw TaskError(
        .data, "\(path): the matrix has shape \(array.shape), expected two axes, none of them empty")
    }
    try requireModerate(array.elements, path)
    return array
  }

  /// Entries whose squares overflow would only fail later, without a name.
  private static func requireModerate(_ values: [Double], _ path: String) throws(TaskError) {
    let largest = values.reduce(0) { max($0, abs($1)) }
    guard largest <= largestEntry else {
      throw TaskError(
        .data, "\(path): the operator holds \(largest), expected values of at most \(largestEntry)")
    }
  }

  private static func requireColumns(_ columns: Int, of rows: Int, _ shape: ImageShape, _ path: String)
    throws(TaskError)
  {
    guard columns == shape.count else {
      throw TaskError(
        .data,
        "\(path): the operator has shape [\(rows), \(columns)], expected [m, \(shape.count)] for images of \(shape)"
      )
    }
  }

  private static func geometry(_ task: ReconstructionTask) throws -> ScanGeometry {
    let beam = task.geometry?.beam ?? .parallel
    let pixelSize = task.pixelSize ?? 1
    var geometry = ScanGeometry(
      beam: beam, angles: task.angles?.values(turn: beam == .parallel ? 180 : 360) ?? [],
      detectors: task.detectors ?? 0, spacing: 1, offset: task.offset ?? 0, pixelSize: pixelSize)
    geometry.spacing = task.detectorSpacing ?? pixelSize * geometry.magnification
    if case .file(let path) = task.angles {
      geometry.angles = try ArrayFile.read(path, as: Double.self).elements
      guard (1...100_000).contains(geometry.angles.count) else {
        throw TaskError(.data, "\(path): holds \(geometry.angles.count) angles, expected 1 to 100,000")
      }
    }
    return geometry
  }

  /// With detectors that see all of an image, where no number of them was given.
  private static func whole(_ geometry: ScanGeometry, _ shape: ImageShape) -> ScanGeometry {
    guard geometry.detectors == 0 else { return geometry }
    var whole = geometry
    whole.detectors = ScanGeometry.detectors(
      for: shape, beam: geometry.beam, spacing: geometry.spacing, pixelSize: geometry.pixelSize)
    return whole
  }

  /// A grid of kernels, `[rows, columns, h, w]`; nil of a file with other axes.
  private static func kernelGrid(_ path: String) throws -> (kernels: [BlurKernel], rows: Int, columns: Int)? {
    let array = try ArrayFile.read(path, as: Double.self)
    guard array.shape.count == 4 else { return nil }
    let (rows, columns, h, w) = (array.shape[0], array.shape[1], array.shape[2], array.shape[3])
    guard array.count > 0, rows * columns <= 4096 else {
      throw TaskError(
        .data,
        "\(path): the grid of kernels has shape \(array.shape), expected 1 to 4,096 kernels, none of them empty"
      )
    }
    try requireModerate(array.elements, path)
    let all = array.elements
    let kernels = try (0..<rows * columns).map { k in
      try BlurKernel(Array(all[k * h * w..<(k + 1) * h * w]), height: h, width: w)
    }
    return (kernels, rows, columns)
  }

  /// Frequencies ky, kx of samples.
  private static func frequencies(_ path: String) throws -> [SIMD2<Double>] {
    let array = try ArrayFile.read(path, as: Double.self)
    guard array.shape.count >= 2, array.shape.last == 2, array.count > 0 else {
      throw TaskError(.data, "\(path): the trajectory has shape \(array.shape), expected [m, 2]")
    }
    let all = array.elements
    if let bad = all.firstIndex(where: { !($0.magnitude <= 0.5) }) {
      throw TaskError(
        .data,
        "\(path): frequency \(bad / 2) is \(all[bad]), expected cycles a pixel, from -0.5 to 0.5: cycles a field of view are "
          + "divided by the image's height or width")
    }
    return (0..<all.count / 2).map { SIMD2(all[2 * $0], all[2 * $0 + 1]) }
  }

  private static func kernel(_ choice: KernelChoice?, _ path: inout String?) throws -> BlurKernel {
    switch choice {
    case .gaussian(let deviation): return try .gaussian(deviation: deviation)
    case .motion(let length, let angle): return try .motion(length: length, angle: angle)
    case .disk(let radius): return try .disk(radius: radius)
    case .file(let file):
      path = file
      let array = try matrix(file)
      return try BlurKernel(array.elements, height: array.shape[0], width: array.shape[1])
    case .box, .bilinear, .bicubic, nil:
      preconditionFailure("the check refuses \(String(describing: choice))")
    }
  }
}

extension ReconstructionTask {
  /// The map that the task's flags say; nil for the shape of a row of values, which a matrix tells. A mask that is drawn is
  /// that of the first image.
  package func map(of shape: ImageShape?) throws -> any Map {
    let measurement = try TaskOperator(self)
    guard let shape = shape ?? measurement.row else {
      throw TaskError(.usage, key: "size", "--size is needed, as 64x64")
    }
    switch mask {
    case .pattern(let pattern):
      return try MaskMap(shape, mask: try pattern.observed(shape, seed: seed, index: 0))
    case .file(let path):
      throw TaskError(
        .usage, key: "mask", "--mask is '\(path)', expected center:SIZE, box:y,x,h,w or random:SHARE here")
    case nil: return try measurement.map(shape)
    }
  }
}
