import AIPOKernels
import AIPOPriors
import AIPOProblems

/// Why a reconstruction could not be started or carried on. What goes wrong with one image alone is no
/// error: its result says `converged: false` and why.
public enum SolverError: Error, CustomStringConvertible {
  case problem(ProblemError)
  case invalidOption(name: String, found: String, expected: String)
  case unsupported(String)
  /// The prior itself threw.
  case prior(any Error)

  public var description: String {
    switch self {
    case .problem(let error): error.description
    case .invalidOption(let name, let found, let expected): "\(name) is \(found), expected \(expected)"
    case .unsupported(let what): what
    case .prior(let error): "the prior failed: \(error)"
    }
  }
}

/// Runs what may throw anything and gives the error as ours.
func solver<R>(_ body: () throws -> R) throws(SolverError) -> R {
  do {
    return try body()
  } catch let error as SolverError {
    throw error
  } catch let error as ProblemError {
    throw .problem(error)
  } catch {
    throw .prior(error)
  }
}
