import AIPOFlows
import AIPOImaging
import AIPOKernels
import AIPOSolvers
import AIPOStudies
import AIPOTasks
import Foundation
import Testing

/// What the command does, done by a program: a reconstruction, a study and latents, under an untrained flow.
@Suite final class FrontDoorTests {
  private let folder: String
  private var model: String { folder + "/prior.safetensors" }
  private let shape = ImageShape(height: 8, width: 6, channels: 1)

  init() throws {
    folder = FileManager.default.temporaryDirectory.path + "/aipo-tasks-" + UUID().uuidString
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    let images = try images(16)
    let spec = FlowSpec.glow(levels: 1, steps: 2, hidden: 4)
    let flow = try Flow<Double>(spec: spec, imageShape: shape, seed: 1)
    try flow.initialize(from: images)
    let variances = (0..<shape.count).flatMap { i in (0...i).map { $0 == i ? Float(0.05) : 0 } }
    var prior = FlowModel(
      spec: spec, imageShape: shape, dequantization: Dequantization(bits: 5), tensors: flow.namedTensors,
      statistics: ImageStatistics(
        mean: [Float](repeating: 0.5, count: shape.count), covariance: .full(lowerTriangle: variances)))
    try prior.save(path: model)
  }

  deinit { try? FileManager.default.removeItem(atPath: folder) }

  private func images(_ count: Int) throws -> Tensor<Double> {
    var random = Philox(seed: 3, purpose: .test)
    return try Tensor(
      shape: [count, shape.height, shape.width, shape.channels],
      elements: (0..<count * shape.count).map { _ in 0.5 + 0.2 * random.normal() })
  }

  @Test func aReconstructionOfImagesInMemory() throws {
    var task = ReconstructionTask(.denoise)
    task.model = model
    task.simulate = "mine"
    task.sigma = 0.1
    task.methods = [.aipo, .gaussian]
    task.maxEvaluations = 20
    let truth = try images(3)
    let results = try Reconstruction(task, images: ImageSet(truth, name: "mine"), threads: 1).run()
    #expect(results.map(\.method) == [.aipo, .aipo, .aipo, .gaussian, .gaussian, .gaussian])
    #expect(results.map(\.record.source) == ["mine#0", "mine#1", "mine#2", "mine#0", "mine#1", "mine#2"])
    for (k, result) in results.enumerated() {
      let record = result.record
      #expect(result.image.shape == [8, 6, 1])
      let (objective, recon, reg) = (
        try #require(record.objective), try #require(record.recon), try #require(record.reg)
      )
      #expect(abs(objective - recon - record.lambda * reg) < 1e-9 * abs(objective))
      let error = zip(result.image.elements, try truth.rows([k % 3]).elements).reduce(0) {
        $0 + pow(min(max($1.0, 0), 1) - min(max($1.1, 0), 1), 2)
      }
      let psnr = -10 * log10(error / Double(shape.count))
      #expect(abs(try #require(record.psnr) - psnr) < 1e-9)
      let json = Data(JSONValue(encoding: record).compact.utf8)
      #expect(try JSONDecoder().decode(ReconstructionRecord.self, from: json) == record)
    }
  }

  /// Under N(½, 0.05 I) the solution pulls every pixel to the middle by 0.05 / (0.05 + σ²).
  @Test func anObservationInMemory() throws {
    var task = ReconstructionTask(.denoise)
    task.model = model
    task.sigma = 0.2
    task.methods = [.gaussian]
    let y = try images(2)
    let results = try Reconstruction(task, images: ImageSet(y), threads: 1).run()
    for (k, result) in results.enumerated() {
      #expect(result.record.psnr == nil && result.record.source == "images#\(k)" && result.record.converged)
      for (x, y) in zip(result.image.elements, try y.rows([k]).elements) {
        #expect(abs(x - 0.5 - (y - 0.5) * 0.05 / (0.05 + 0.04)) < 1e-6)
      }
    }
  }

  @Test func whatIsAtOddsIsRefusedBeforeAnythingIsRead() {
    var task = ReconstructionTask(.inpaint)
    task.observation = "none.png"
    let error = #expect(throws: TaskError.self) { try Reconstruction(task, threads: 1) }
    #expect(error?.kind == .missing || error?.key == "task")
  }

  @Test func aStudy() throws {
    let path = folder + "/study.yaml"
    try ImageOutput.write(images(2), to: folder + "/truth.npy")
    try AtomicFile.write(
      """
      title: Two methods
      options:
        {task: denoise, simulate: \(folder)/truth.npy, model: \(model), max-evaluations: 5, sigma: [0.1, 0.2]}
      variants: [{method: [aipo, gaussian]}]
      grids: [{name: all}]
      """, to: path)
    let study = try Study(path: path)
    #expect(study.plan.cells.count == 4)
    #expect(study.plan.cells.map(\.task.sigma) == [0.1, 0.1, 0.2, 0.2])
    #expect(study.plan.cells.map(\.task.methods) == [[.aipo], [.gaussian], [.aipo], [.gaussian]])
    let results = try #require(try study.run(in: folder + "/out", threads: 1))
    #expect(results.done == 8 && results.total == 8 && results.failure == nil)
    let names = try FileManager.default.contentsOfDirectory(atPath: folder + "/out")
    #expect(Set(["report.html", "results.csv", "results.json", "results.md"]).isSubset(of: names))
    // Solved once, it is read.
    var progress = 0
    let again = try study.run(
      in: folder + "/out", threads: 1, observer: Study.Observer(onProgress: { _, _ in progress += 1 }))
    #expect(again?.json.pretty == results.json.pretty && progress == 0)
  }

  @Test func latentsAndBack() throws {
    let path = folder + "/x.npy"
    let x = try images(3)
    try ImageOutput.write(x, to: path)
    let loaded = try LoadedModel<Double>(model, threads: 1)
    let set = try ModelImages(path: path, model: loaded.model)
    var latents: [Double] = []
    let encoded = try loaded.encode(set) { latents += $0.elements }
    let likelihoods = try loaded.logProb(set, draws: 2)
    for (k, row) in likelihoods.enumerated() {
      let epsilon = latents[k * shape.count..<(k + 1) * shape.count]
      let base = epsilon.reduce(0) { $0 - 0.5 * $1 * $1 - 0.5 * log(2 * .pi) }
      #expect(abs(row.logProb - base - encoded.logDet[k]) < 1e-8 * abs(row.logProb))
    }
    var back: [Double] = []
    let decoded = try loaded.decode(Tensor(shape: [3, shape.count], elements: latents)) { images, _ in
      back += images.elements
    }
    #expect(zip(back, x.elements).allSatisfy { abs($0 - $1) < 1e-9 })
    #expect(zip(encoded.logDet, decoded.logDet).allSatisfy { abs($0 + $1) < 1e-8 || abs($0 - $1) < 1e-8 })
    var drawn = 0
    let sample = try loaded.sample(count: 5, seed: 1) { drawn += $0.shape[0] }
    #expect(sample.drawn == 5 && drawn == 5)
  }
}
