import AIPOKernels
import AIPOProblems

/// What images of one map and noise share.
final class SharedWork: @unchecked Sendable {
  let metrics = MetricCache()
  private let lock = Lock()
  private var known: Coverage?
  private var descent: ProximalGradient?
  private var posteriors: [(lambda: Double, posterior: GaussianPosterior)] = []

  private var searches: [Int: StartSearch] = [:]

  /// How the search for an image's start went.
  func search(of image: Int) -> StartSearch? { lock.withLock { searches[image] } }

  func note(_ search: StartSearch, of image: Int) { lock.withLock { searches[image] = search } }

  func coverage(_ make: () -> Coverage) -> Coverage {
    lock.withLock {
      if let known { return known }
      let made = make()
      known = made
      return made
    }
  }

  func proximalGradient(_ make: () throws -> ProximalGradient) rethrows -> ProximalGradient {
    try lock.withLock {
      if let descent { return descent }
      let made = try make()
      descent = made
      return made
    }
  }

  func posterior(at lambda: Double, _ make: () throws -> GaussianPosterior) rethrows -> GaussianPosterior {
    try lock.withLock {
      if let found = posteriors.first(where: { $0.lambda == lambda }) { return found.posterior }
      let made = try make()
      posteriors.append((lambda, made))
      return made
    }
  }
}
