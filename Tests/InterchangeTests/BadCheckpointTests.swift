import AIPOInterchange
import AIPOKernels
import AIPOTestFiles
import Testing

struct BadCheckpointTests {
  @Test(arguments: BadFile.checkpoints) func areRefused(_ bad: BadFile) throws {
    try TestFiles.withFile(bad.bytes) { path in
      do {
        _ = try ModelImport(path: path)
        Issue.record("\(bad.name) was accepted")
      } catch let error as FileError {
        guard case .malformed = error else {
          Issue.record("\(error)")
          return
        }
        #expect(error.description.contains(bad.says), "\(error)")
        #expect(!error.description.contains("\n"))
      }
    }
  }
}
