import AIPOFlows
import AIPOImaging
import AIPOKernels
import AIPOProblems
import AIPOSolvers

/// What is kept of an image: enough to give the same files as the process that solved it.
private struct KeptImage: Codable {
  /// SHA-256 of what was observed.
  var observation: String
  var sigma: Double
  var sigmaEvaluations: Int
  var lambda: Double?
  /// One a method.
  var results: [ReconstructionResult] = []
  /// Of the states of each path.
  var psnr: [[Double?]] = []
}

extension Reconstruction {
  /// Solves the own images that the folder doesn't hold. Results don't depend on how many are solved together, so that a file
  /// is a block of images where they are many.
  package func solve(_ work: SharedWork, observer: ReconstructionWatch, advise: ([Advice]) -> Void = { _ in })
    throws -> SharedWork.Outcome
  {
    let decides = try decides()
    try work.ranks.requireSame(decides)
    let folder = try ItemFolder<[KeptImage]>(work.folder, decides: decides.map(\.value))
    let isCancelled = observer.work.isCancelled
    return try work.run(blocks.count, holds: folder.holds, isCancelled: isCancelled) { own in
      let images = own.reduce(0) { $0 + blocks[$1].count } * task.methods.count
      var done = count * task.methods.count - images
      for block in own where !isCancelled() {
        guard let chunk = try chunk(blocks[block], watch: observer.estimates(blocks[block].lowerBound)) else {
          return
        }
        advise(chunk.advices)
        var kept = chunk.indices.indices.map {
          KeptImage(
            observation: Self.digest(chunk, $0), sigma: chunk.sigmas[$0],
            sigmaEvaluations: chunk.sigmaEvaluations[$0], lambda: chunk.lambda)
        }
        for method in task.methods where !isCancelled() {
          let (results, quality) = try solve(chunk, method, observer, done: done)
          advise(try advices(on: results, by: method, chunk))
          for result in results {
            kept[result.index].results.append(result)
            kept[result.index].psnr.append(quality.psnr(image: result.index))
          }
          done += chunk.indices.count
          observer.work.onProgress(Double(done))
        }
        if kept.allSatisfy({ $0.results.count == task.methods.count }) { try folder.write(kept, block) }
      }
    }
  }

  /// Hands on what a folder keeps of all images, as `run` hands on what it solves.
  package func replay(_ work: SharedWork, advise: ([Advice]) -> Void, take: (SolvedChunk) throws -> Void)
    throws
  {
    let folder = try ItemFolder<[KeptImage]>(work.folder, decides: decides().map(\.value))
    var open: (block: Int, images: [KeptImage])?
    func image(_ place: Int) throws -> KeptImage {
      let block = blocks.firstIndex { $0.contains(place) }!
      let images = try open?.block == block ? open!.images : folder.read(block)
      open = (block, images)
      guard images.count == blocks[block].count, images.allSatisfy({ $0.results.count == task.methods.count })
      else {
        throw TaskError(.data, "\(work.folder): what was kept of image \(place) is damaged; begin anew")
      }
      return images[place - blocks[block].lowerBound]
    }
    for places in chunks(of: 0..<count) {
      let kept = try places.map(image)
      let estimates = kept.map {
        Estimate(sigma: $0.sigma, evaluations: $0.sigmaEvaluations, lambda: $0.lambda)
      }
      guard let chunk = try chunk(places, estimates: estimates, watch: EstimateWatch()) else { return }
      for (k, image) in kept.enumerated() where image.observation != Self.digest(chunk, k) {
        throw TaskError(
          .data,
          "\(work.folder): it was kept of another observation of \(chunk.names[k]); name another folder")
      }
      advise(chunk.advices)
      for (m, method) in task.methods.enumerated() {
        let results = kept.enumerated().map { $1.results[m].at($0) }
        let quality = PathQuality(kept.map { $0.psnr[m] })
        let advices = try advices(on: results, by: method, chunk)
        advise(advices)
        try take(try solved(results, method, chunk, quality, advices))
      }
    }
  }

  /// Places of the images that a file keeps.
  private var blocks: [Range<Int>] {
    let size = task.lambda == .evidence ? 1 : max(1, min(8, count / 64))
    return stride(from: 0, to: count, by: size).map { $0..<min($0 + size, count) }
  }

  private static func digest(_ chunk: ReconstructionInput.Chunk, _ image: Int) -> String {
    chunk.problem.observations[image].withUnsafeBufferPointer { values in
      var digest = SHA256()
      digest.update(UnsafeRawBufferPointer(values))
      return digest.hexDigest()
    }
  }
}
