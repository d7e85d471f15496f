import AIPOKernels
import AIPOTestFiles
import Testing

@testable import AIPOImaging

/// Damaged files either read or are refused; nothing crashes, whatever the damage.
struct FuzzTests {
  @Test(arguments: [
    "grey8", "rgb8", "grey16", "palette", "bilevel", "rgbaOpaque", "transparentColour", "jpegGrey",
    "jpegColour",
    "jpegProgressive", "f4BigV2", "f8V3", "fortran4", "u1", "npyGzip", "idxGzip", "vector",
  ])
  func damagedFiles(fixture: String) throws {
    let folder = TemporaryFolder()
    let whole = Fixtures.bytes(fixture)
    var random = Philox(seed: 7, index: UInt64(whole.count), purpose: .test)
    var refused = 0
    for _ in 0..<150 {
      var bytes = whole
      for _ in 0..<(1 + Int(random.next() % 4)) {
        bytes[Int(random.next() % UInt64(bytes.count))] = UInt8(truncatingIfNeeded: random.next())
      }
      if random.next() % 4 == 0 { bytes.removeLast(Int(random.next() % UInt64(bytes.count))) }
      let path = folder.write(bytes, "damaged")
      do {
        let set = try ImageSet(path: path)
        let indices = 0..<min(set.count, 3)
        let images = try set.read(indices, as: Float.self)
        #expect(images.elements.allSatisfy { $0.isFinite })
        #expect(try set.bytes(indices).count == images.count)
      } catch let error as FileError {
        refused += 1
        #expect(!error.description.contains { $0.isNewline })
      }
      do {
        let array: Tensor<Double> = try NPYFile.read(path)
        #expect(array.elements.allSatisfy { $0.isFinite })
      } catch is FileError {}
    }
    #expect(refused > 0)
  }
}
