import AIPO
import AIPOPlatform
import ArgumentParser

/// The command `aipo`: one subcommand a verb, each in a file of its own.
@main
struct AIPOCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "aipo",
    abstract: "Recover images from noisy, incomplete or compressed measurements.",
    discussion: """
      A prior is a normalizing flow, trained on images of one kind: it says how
      plausible an image is. 'reconstruct' finds the most plausible image that
      explains a measurement. The shipped priors know photographs of any size and
      28x28 grey garments; 'train' makes one of your own images.

      Examples:
        aipo info
        aipo reconstruct --task denoise --observation noisy.png --out clean.png
        aipo train --data photos/ --patch 32x32 --config patches --out run

      Exit codes: 0 done, 64 wrong usage, 65 bad data, 66 input missing,
      70 internal failure, 73 can't write, 75 an image has no finite result,
      130 and 143 interrupted by SIGINT and SIGTERM (finished work is kept).
      """,
    version: AIPOVersion.description,
    subcommands: [
      Info.self, Train.self, Sample.self, Encode.self, Decode.self, LogProb.self, Reconstruct.self,
      Posterior.self, Calibrate.self,
      CheckOperator.self, Import.self, Export.self, Measure.self, StudyVerb.self, Density.self, Grid.self,
      Bench.self,
    ])

  static func main() {
    BLASLibrary.startAnewIfMistaken()
    Console.prepareStreams()
    let status = status {
      try Job.join()
      return try parsed()
    }
    Job.ranks.leave()
    _exit(status.rawValue)
  }

  private static func parsed() throws -> ExitStatus {
    try AIPOVersion.requireKnownKernels()
    var command = try parseAsRoot()
    if let verb = command as? any Verb {
      guard Job.ranks.count == 1 || type(of: verb).worksOverRanks else {
        throw CommandFailure(
          .usage, "'\(type(of: verb)._commandName)' works in one process: start it without mpirun")
      }
      return try verb.start()
    }
    try command.run()
    return .done
  }

  /// Runs `body` and reports what it throws: help and version on standard output, the rest as a line on
  /// standard error.
  private static func status(of body: () throws -> ExitStatus) -> ExitStatus {
    do {
      return try body()
    } catch let failure as CommandFailure {
      return report(failure)
    } catch let error where isParserError(error) {
      let message = fullMessage(for: error)
      guard exitCode(for: error).isSuccess else {
        Job.giveWay()
        Console.failure(message)
        Job.abortOthers(.usage)
        return .usage
      }
      do { try Console.output(message + "\n") } catch { return report(CommandFailure(error)) }
      return .done
    } catch {
      return report(CommandFailure(error))
    }
  }

  private static func report(_ failure: CommandFailure) -> ExitStatus {
    ProgressLine.clearCurrent()
    Job.giveWay()
    Console.failure(Job.name + failure.message)
    Job.abortOthers(failure.status)
    return failure.status
  }

  /// Whether the argument parser knows what to print for this error (usage, help, version, completions).
  private static func isParserError(_ error: any Error) -> Bool {
    exitCode(for: error) != .failure
  }
}

/// A subcommand that ends with one of the program's exit codes.
protocol Verb: ParsableCommand {
  /// Whether it may be started by mpirun.
  static var worksOverRanks: Bool { get }
  var common: CommonOptions { get }
  /// What it writes, tried before the work starts.
  func outputs() throws -> [String?]
  func perform() throws -> ExitStatus
}

extension Verb {
  static var worksOverRanks: Bool { false }
  func outputs() -> [String?] { [] }

  /// Sees that there is what the work needs, and performs it.
  func start() throws -> ExitStatus {
    for output in try outputs() {
      if let output { try AtomicFile.checkWritable(output) }
    }
    Interrupt.install()
    try common.requireMemory()
    return try perform()
  }

  func run() throws { _ = try start() }
}

/// A subcommand that works in the element type of --precision.
protocol ScalarVerb: Verb {
  func perform<Scalar: KernelScalar>(in _: Scalar.Type) throws -> ExitStatus
}

extension ScalarVerb {
  func perform() throws -> ExitStatus {
    switch common.precision {
    case .float32: try perform(in: Float.self)
    case .float64: try perform(in: Double.self)
    }
  }
}
