import AIPOFlows
import AIPOImaging
import AIPOKernels
import Foundation
import Testing

@testable import AIPOTasks

/// Which shipped prior is taken where none is named.
@Suite final class ModelChoiceTests {
  private let folder: String

  init() throws {
    folder = FileManager.default.temporaryDirectory.path + "/aipo-choice-" + UUID().uuidString
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(atPath: folder) }

  private func ship(_ names: String...) throws {
    for name in names { try AtomicFile.write("", to: "\(folder)/\(name).safetensors") }
  }

  private func chosen(_ height: Int, _ width: Int, _ channels: Int) -> String? {
    let image = ImageShape(height: height, width: width, channels: channels)
    return ModelLocator.shipped(for: image, in: ["/nowhere", folder]).map(ModelSource.stem)
  }

  @Test func byChannelsAndSize() throws {
    #expect(chosen(28, 28, 1) == nil)
    try ship("fashion-mnist-smooth")
    for (height, width, channels) in [(28, 28, 1), (321, 481, 1), (28, 28, 3), (1, 1, 5)] {
      #expect(chosen(height, width, channels) == "fashion-mnist-smooth")
    }
    try ship("photographs-grey-fast")
    #expect(chosen(28, 28, 1) == "fashion-mnist-smooth")
    #expect(chosen(28, 29, 1) == "photographs-grey-fast" && chosen(321, 481, 1) == "photographs-grey-fast")
    #expect(chosen(321, 481, 3) == "fashion-mnist-smooth")
    try ship("photographs-grey", "photographs-colour", "photographs-colour-fast")
    #expect(chosen(321, 481, 1) == "photographs-grey" && chosen(3000, 4000, 1) == "photographs-grey-fast")
    #expect(chosen(28, 28, 3) == "photographs-colour" && chosen(3000, 4000, 3) == "photographs-colour-fast")
    #expect(chosen(28, 28, 1) == "fashion-mnist-smooth" && chosen(28, 28, 2) == "fashion-mnist-smooth")
    #expect(ModelLocator.shipped(for: nil, in: [folder]).map(ModelSource.stem) == "fashion-mnist-smooth")
  }

  /// What the flags do to the images counts, and what isn't images tells nothing.
  @Test func theShapeIsThatOfTheTask() throws {
    let path = folder + "/x.npy"
    try ImageOutput.write(try Tensor<Double>(shape: [2, 6, 9, 3]), to: path)
    var task = ReconstructionTask(.denoise)
    task.observation = path
    #expect(ReconstructionInput.shape(of: task, nil) == ImageShape(height: 6, width: 9, channels: 3))
    task.reading.transform.channels = .grey
    task.reading.transform.crop = PixelSize("4x5")
    #expect(ReconstructionInput.shape(of: task, nil) == ImageShape(height: 4, width: 5, channels: 1))
    task.observation = folder + "/none.npy"
    #expect(ReconstructionInput.shape(of: task, nil) == nil)
    var sense = ReconstructionTask(.sense)
    sense.observation = path
    #expect(ReconstructionInput.shape(of: sense, nil) == nil)
    sense.observation = nil
    sense.simulate = path
    #expect(ReconstructionInput.shape(of: sense, nil) == ImageShape(height: 6, width: 9, channels: 3))
  }
}
