import AIPOContinuation
import AIPOFlows
import AIPOInverseProblems
import AIPOKernels

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

func randomVector(_ n: Int, seed: UInt64) -> [Double] {
  var random = Philox(seed: seed, purpose: .test)
  return (0..<n).map { _ in random.normal() }
}

/// A random symmetric positive definite covariance.
func randomCovariance(_ d: Int, seed: UInt64) throws -> Matrix {
  let b = try Matrix(rows: d, columns: d, rowMajor: randomVector(d * d, seed: seed))
  var c = try b.timesTransposed(b)
  c.scale(by: 0.05 / Double(d))
  c.addToDiagonal(0.01)
  return c
}

func distance(_ a: [Double], _ b: [Double]) -> Double { norm(adding(a, b, scaledBy: -1)) }

/// A density given by a function of one image.
struct FunctionPrior<Scalar: KernelScalar>: ImagePrior {
  let imageShape: ImageShape
  /// log p(x) and its gradient.
  let density: @Sendable ([Double]) -> (Double, [Double])

  func evaluate(_ x: Tensor<Scalar>) throws -> [Double] { try evaluateWithGradient(x).logProb }

  func evaluateWithGradient(_ x: Tensor<Scalar>) throws -> (logProb: [Double], gradient: Tensor<Scalar>) {
    let d = imageShape.count
    let values = x.elements.map { Double($0) }
    var logProb: [Double] = []
    var gradient: [Scalar] = []
    for i in 0..<(values.count / d) {
      let (value, slope) = density(Array(values[(i * d)..<((i + 1) * d)]))
      logProb.append(value)
      gradient += slope.map { Scalar($0) }
    }
    return (logProb, try Tensor(shape: x.shape, elements: gradient))
  }
}

/// Two Gaussian modes at ±2, deviation .5, weight `right` on +2, without their 1/(s√2π).
func twoModes(right: Double) -> FunctionPrior<Double> {
  FunctionPrior(imageShape: ImageShape(height: 1, width: 1, channels: 1)) { x in
    let logs = [(2.0, right), (-2.0, 1 - right)].map { mode, weight in
      log(weight) - (x[0] - mode) * (x[0] - mode) / 0.5
    }
    let top = max(logs[0], logs[1])
    let sum = exp(logs[0] - top) + exp(logs[1] - top)
    let share = exp(logs[0] - top) / sum
    let slope = -(share * (x[0] - 2) + (1 - share) * (x[0] + 2)) / 0.25
    return (top + log(sum), [slope])
  }
}

/// Solves all images along a path and gives the states.
func solve(
  _ objective: any Objective, from starts: [[Double]], path: any SolutionPath,
  _ settings: PathSettings = PathSettings(), problem: InverseProblem? = nil
) throws -> (states: [PathState], outcomes: [PathOutcome]) {
  var machine = PathMachine(
    objective: objective, starts: starts, path: path, settings: settings, problem: problem)
  var states: [PathState] = []
  while let new = try machine.next() { states += new }
  return (states, machine.outcomes)
}
