import AIPOImaging
import AIPOKernels
import AIPOSolvers
import AIPOTasks

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// One solved image of a cell, as it is kept in the study's folder.
struct StudySolve: Codable {
  /// What the image is, whatever the cell: results of the same sample are compared in pairs.
  struct Sample: Codable, Hashable {
    var source: String
    /// Its place in the source.
    var index: Int
    var seed: UInt64
  }

  /// A sample at the weights that it was solved at in the end: targets of the same one can be compared.
  struct WeightedSample: Hashable {
    var sample: Sample
    var lambda: Double
    var flowShare: Double
  }

  var sample: Sample
  /// Without its seconds.
  var record: ReconstructionRecord
  /// What looks like a mistake about this image.
  var advices: [Advice]?
  var course: StudyCourse?
  /// log p(y), where variants are ranked by it.
  var evidence: EvidenceEstimate?
  var picture: StudyPicture?

  var weightedSample: WeightedSample {
    WeightedSample(sample: sample, lambda: record.lambda, flowShare: record.flowShare)
  }

  var end: StudyEnd {
    if record.objective == nil { return .notFinite }
    if record.converged { return .converged }
    return [.budget, .theoremBound].contains(record.reason) ? .budget : .unexplained
  }
}

/// How a solve ended.
enum StudyEnd: String, CaseIterable {
  case converged, budget, unexplained, notFinite

  var words: String {
    switch self {
    case .converged: "converged"
    case .budget: "budget used up"
    case .unexplained: "stuck otherwise"
    case .notFinite: "not finite"
    }
  }
}

/// Target and PSNR on the way, at the last state that each number of evaluations had reached.
struct StudyCourse: Codable {
  /// Nil before the first state.
  var target: [Double?]
  var psnr: [Double?]
  /// The first evaluation that was within a nat of the target in the end.
  var withinOneNat: Int?

  /// The numbers of evaluations: every one at first, then about a quarter more each time.
  static let marks: [Int] = {
    var marks = [1]
    while marks[marks.count - 1] < 20_000 {
      let last = marks[marks.count - 1]
      marks.append(max(last + 1, Int((Double(last) * 1.25).rounded())))
    }
    return marks
  }()

  /// Of a result's trace; nil where it has no states. The target is that at the final weights all the way.
  init?(_ result: ReconstructionResult, psnr quality: [Double?]) {
    let states = result.trace.enumerated().compactMap { k, state in
      state.event == .failed
        ? nil
        : result.targetReg(at: state).map { reg in
          (
            evaluations: state.evaluations, target: state.recon + result.lambda * reg,
            psnr: quality.indices.contains(k) ? quality[k] : nil
          )
        }
    }
    guard !states.isEmpty, let final = result.target else { return nil }
    target = []
    psnr = []
    var next = 0
    for mark in Self.marks {
      while next < states.count, states[next].evaluations <= mark { next += 1 }
      target.append(next > 0 ? Optional(states[next - 1].target).finite : nil)
      psnr.append(next > 0 ? states[next - 1].psnr.finite : nil)
      if next == states.count { break }
    }
    withinOneNat = states.first { $0.target <= final + 1 }?.evaluations
  }

  /// The value at a mark: the last one from the end on.
  static func value(_ values: [Double?], at mark: Int) -> Double? {
    values.isEmpty ? nil : values[min(mark, values.count - 1)]
  }
}

/// The pictures of a solve as 8-bit values, `[h, w, c]`.
struct StudyPicture: Codable {
  var shape: [Int]
  var truth: Data?
  var observed: Data
  /// 1 where a value isn't observed.
  var missing: Data?
  var image: Data

  init(_ result: ReconstructionResult, chunk: ReconstructionInput.Chunk) {
    let row = result.index
    func bytes(_ batch: Tensor<Double>) -> Data {
      let size = batch.rowLength
      return batch.withUnsafeBufferPointer { values in
        Data(values[(row * size)..<((row + 1) * size)].map(PixelValue.byte))
      }
    }
    shape = result.image.shape
    truth = chunk.truth.map(bytes)
    observed = bytes(chunk.observed)
    missing = chunk.masks.map { Data($0[row].map { $0 ? 0 : 1 }) }
    image = Data(result.image.elements.map { PixelValue.byte(Double($0)) })
  }

  /// The values again, NaN where they are missing.
  func tensor(_ bytes: Data, missing: Data? = nil) -> Tensor<Float>? {
    var values = bytes.map { Float(PixelValue.scalar($0)) }
    if let missing { for (i, hidden) in missing.enumerated() where hidden != 0 { values[i] = .nan } }
    return try? Tensor(shape: shape, elements: values)
  }
}
