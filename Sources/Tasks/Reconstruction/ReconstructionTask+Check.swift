import AIPOSolvers

extension ReconstructionTask {
  /// Throws a usage error where settings are at odds with each other. It names the one to change.
  public func check() throws(TaskError) {
    let kind = try requireKind()
    try checkImages(kind)
    try checkNoise(kind)
    try checkMeasurement(kind)
    try checkSolver()
  }

  /// The same of how made images are measured, which neither an observation nor images are needed for.
  package func checkCalibration() throws(TaskError) {
    let kind = try requireKind()
    try refuse(observation != nil, "observation", "--observation isn't of a calibration, which makes its own")
    try checkNoise(kind)
    try checkMeasurement(kind)
  }

  /// The same of what is measured alone, whichever images.
  package func checkMeasurement() throws(TaskError) { try checkMeasurement(try requireKind()) }

  private func requireKind() throws(TaskError) -> TaskKind {
    guard let kind else {
      throw TaskError(
        .usage, key: "task", "--task is needed: \(TaskKind.allCases.map(\.rawValue).joined(separator: ", "))")
    }
    return kind
  }

  /// Throws where something is so; `key` is what should be another.
  private func refuse(_ isSo: Bool, _ key: String, _ text: @autoclosure () -> String) throws(TaskError) {
    if isSo { throw TaskError(.usage, key: key, text()) }
  }

  private func checkImages(_ kind: TaskKind) throws(TaskError) {
    let range = reading.transform.range
    try refuse(counts && range != nil, "counts", "--counts and --range exclude each other")
    try refuse(
      [.sense, .ct, .mri, .phase].contains(kind) && observation != nil && range != nil, "range",
      "--range is of images, and --task \(kind.rawValue) takes its measurements as they are: scale y, or A")
    try refuse(
      observation == nil && simulate == nil, "observation", "one of --observation and --simulate is needed")
    try refuse(
      observation != nil && simulate != nil, "observation", "--observation and --simulate exclude each other")
    try refuse(
      simulate != nil && truth != nil, "simulate",
      "--simulate takes its images as truth, so --truth can't be given")
  }

  private func checkNoise(_ kind: TaskKind) throws(TaskError) {
    try refuse(counts && observation == nil, "counts", "--counts goes with --observation")
    for (name, isGiven, own) in [
      ("tip", tip != nil, NoiseChoice.laplace), ("nu", nu != nil, .student), ("peak", peak != nil, .poisson),
      ("outliers", outliers != nil, .outliers), ("counts", counts, .poisson),
    ] { try refuse(isGiven && noise != own, name, "--\(name) goes with --noise \(own)") }
    try refuse(
      kind == .ct && noise != .poisson && sigma == nil && noiseCovariance == nil, "sigma",
      "--task ct needs --sigma, in the unit of the line integrals, or --sigma auto")
    if quantize != nil || saturate != nil {
      let name = quantize != nil ? "quantize" : "saturate"
      try refuse(noise != .gaussian, name, "--\(name) goes with --noise gaussian")
      if case .number = sigma ?? .number(1) {
      } else {
        try refuse(true, "sigma", "--\(name) needs a number for --sigma")
      }
      try refuse(noiseCovariance != nil, "noise-covariance", "--\(name) goes with --sigma")
    }
    guard noise != .gaussian else {
      return try refuse(
        noiseCovariance != nil && sigma != nil, "sigma", "--sigma and --noise-covariance exclude each other")
    }
    try refuse(noiseCovariance != nil, "noise-covariance", "--noise-covariance goes with --noise gaussian")
    switch sigma {
    case .auto, .evidence: try refuse(true, "sigma", "--sigma \(sigma!) goes with --noise gaussian")
    case .file: try refuse(true, "sigma", "--sigma with a file goes with --noise gaussian")
    case .number, nil: break
    }
    if case .flow = noise {
      try refuse(
        sigma != nil, "sigma", "--sigma can't be given with --noise flow, which knows its noise")
      try refuse(
        kind == .inpaint, "noise",
        "--noise flow gives the density of whole observations: it doesn't go with inpaint")
    }
    try refuse(
      noise == .poisson && kind == .sense && operatorFile == nil, "noise",
      "--noise poisson needs measurements that can't be negative: an --operator of such entries")
  }

  private func checkMeasurement(_ kind: TaskKind) throws(TaskError) {
    if maskThreshold != nil {
      guard case .file = mask else {
        throw TaskError(.usage, key: "mask-threshold", "--mask-threshold goes with a --mask from a file")
      }
    }
    for (name, isGiven, kinds) in [
      ("kernel", kernel != nil, [TaskKind.deblur, .superresolve]),
      ("boundary", boundary != nil, [.deblur, .superresolve]), ("scale", scale != nil, [.superresolve]),
      ("phase", phase != nil, [.superresolve]), ("pattern", pattern != nil, [.demosaic]),
      ("mixing", mixing != nil, [.unmix]), ("mask", mask != nil, [.inpaint]),
      ("ensemble", ensemble != nil, [.sense, .phase]), ("geometry", geometry != nil, [.ct]),
      ("angles", angles != nil, [.ct]), ("detectors", detectors != nil, [.ct]),
      ("detector-spacing", detectorSpacing != nil, [.ct]), ("offset", offset != nil, [.ct]),
      ("pixel-size", pixelSize != nil, [.ct]),
      ("size", size != nil && observation != nil, [.sense, .ct, .mri, .phase]),
      ("operator", operatorFile != nil, [.sense, .phase]),
      ("measurements", measurements != nil, [.sense, .phase]),
      ("kspace-mask", kspaceMask != nil, [.mri]), ("coils", coils != nil, [.mri]),
      ("trajectory", trajectory != nil, [.mri]), ("kernel-of", kernelOf != nil, [.deblur]),
    ] where isGiven {
      try refuse(
        !kinds.contains(kind), name,
        "--\(name) goes with --task \(kinds.map(\.rawValue).joined(separator: " or "))")
    }
    if kind == .deblur {
      switch kernel {
      case .gaussian, .motion, .disk, .file: break
      case nil: try refuse(true, "task", "--task deblur needs --kernel")
      case .box, .bilinear, .bicubic:
        try refuse(true, "kernel", "--kernel \(kernel?.description ?? "") goes with --task superresolve")
      }
    }
    if kind == .superresolve {
      try refuse(scale == nil, "task", "--task superresolve needs --scale")
      try refuse(boundary == .valid, "boundary", "--boundary valid goes with --task deblur")
      switch kernel {
      case .motion, .disk, .file:
        try refuse(
          phase ?? 0 < 0 || phase ?? 0 >= Double(scale ?? 2), "phase",
          "--phase is \(phase ?? 0), expected a number from 0 to below \(scale ?? 2) with this --kernel")
      case .gaussian, .box, .bilinear, .bicubic, nil: break
      }
    }
    try refuse(
      kind == .mri && (kspaceMask == nil) == (trajectory == nil), "task",
      "--task mri needs one of --kspace-mask and --trajectory")
    try refuse(kind == .ct && angles == nil, "task", "--task ct needs --angles")
    try refuse(
      simulate != nil && size != nil, "size",
      "--size is of an observation; --resize and --crop bring images to a size")
    try refuse(kind == .inpaint && mask == nil, "task", "--task inpaint needs --mask")
    try refuse(
      ensemble != nil && operatorFile != nil, "ensemble", "--ensemble takes the place of --operator")
    if kind == .sense { try checkSensing() }
    if kind == .phase { try checkIntensities() }
  }

  private func checkSensing() throws(TaskError) {
    if case .coded = ensemble { try refuse(true, "ensemble", "--ensemble fourier:N goes with --task phase") }
    try refuse(
      observation != nil && operatorFile == nil && ensemble == nil, "task",
      "--task sense with --observation needs --operator, or --measurements and --ensemble as they were taken")
    try refuse(ensemble != nil && measurements == nil, "ensemble", "--ensemble needs --measurements")
    try refuse(
      observation == nil && (operatorFile == nil) == (measurements == nil), "task",
      "--task sense with --simulate needs one of --measurements and --operator")
    try refuse(
      observation != nil && measurements != nil && ensemble == nil, "measurements",
      "--measurements goes with --simulate, or with --ensemble")
  }

  private func checkIntensities() throws(TaskError) {
    try refuse(
      sigma?.isEstimated == true, "sigma",
      "--sigma \(sigma?.description ?? "") needs a linear operator: --task phase needs a number")
    switch ensemble {
    case .transform(let transform):
      try refuse(
        true, "ensemble",
        "--ensemble \(transform.rawValue) goes with --task sense; phase takes gaussian or fourier:N")
    case .coded:
      try refuse(measurements != nil, "measurements", "--ensemble fourier:N tells the number of measurements")
    case .gaussian, nil:
      try refuse(
        (operatorFile == nil) == (measurements == nil), "task",
        "--task phase needs one of --ensemble fourier:N, --measurements and --operator")
    }
  }

  private func checkSolver() throws(TaskError) {
    if let share = flowShare.number {
      try refuse(
        share < 1 && path == .theorem, "flow-share",
        "--path theorem follows the flow alone, so --flow-share is 1")
    }
    try refuse(
      penalty != .auto && !methods.contains { $0 == .tv || $0 == .lasso }, "penalty",
      "--penalty goes with --method tv or lasso")
    try refuse(
      restarts != nil && kind != .phase && !methods.contains { $0 == .restarts || $0 == .latent }, "restarts",
      "--restarts goes with --method restarts or latent, or with --task phase")
    if kind == .phase {
      for method in methods where method == .tv || method == .lasso {
        try refuse(true, "method", "--method \(method.rawValue) needs a linear operator, not --task phase")
      }
    }
    try refuse(
      methods.contains(.restarts) && ![.auto, .prior, .random].contains(start), "init",
      "--init is \(start.rawValue), expected prior or random for --method restarts")
  }
}
