import AIPOFlows
import AIPOKernels
import AIPOPlatform
import AIPOTasks

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// What a study's folder was made for: a run goes on in it only where all of this is the same.
struct StudyIdentity: Codable, Equatable {
  /// The programs that solved it (`ProgramVersion.build`), the first of them first.
  var builds: [String]
  /// Checksums by the models' names in the YAML, empty for the default.
  var models: [String: String]
  /// The command of every cell.
  var cells: [String]

  /// What ranks compare.
  var words: [(what: String, value: String)] {
    [("program", builds.joined(separator: " and "))]
      + models.sorted { $0.key < $1.key }.map {
        ("checksum of the model\($0.key.isEmpty ? "" : " " + $0.key)", $0.value)
      }
      + cells.enumerated().map { ("cell \($0)", $1) }
  }

  /// What differs but for the builds, for an error: found in the folder, and expected here.
  func difference(from expected: StudyIdentity) -> (what: String, found: String, expected: String)? {
    if let place = (0..<max(cells.count, expected.cells.count)).first(where: {
      cells.dropFirst($0).first != expected.cells.dropFirst($0).first
    }) {
      func cell(_ cells: [String]) -> String { cells.dropFirst(place).first.map { "'\($0)'" } ?? "none" }
      return ("cell \(place)", cell(cells), cell(expected.cells))
    }
    let name = Set(models.keys).union(expected.models.keys).sorted().first {
      models[$0] != expected.models[$0]
    }
    return name.map {
      (
        "checksum of the model\($0.isEmpty ? "" : " " + $0)", models[$0] ?? "none",
        expected.models[$0] ?? "none"
      )
    }
  }
}

/// The folder of a study. The solves of every few images of a cell are a file, which appears whole as they
/// are done; so a killed run loses those at work and nothing else.
final class StudyFolder {
  let path: String
  /// The programs that its solves are from.
  private(set) var builds: [String]
  private let lock: FolderLock?

  private static let identityName = "study.json"

  /// Checks, without making it, that the folder can be a study's.
  static func check(_ path: String) throws -> RunFolder {
    try RunFolder(
      path: path, file: "results.csv", remedy: "it is no study's, name another",
      // A run may be killed before it has come to its first file.
      isOwn: { $0.contains(identityName) || $0 == ["parts"] })
  }

  /// Makes the folder or goes on in it; of several ranks the first one does. Throws where another run holds it, it was made
  /// for another study, or by another build that is refused.
  init(_ folder: RunFolder, identity: StudyIdentity, others: Study.OtherBuilds, division: Division) throws {
    path = folder.path
    builds = identity.builds
    guard division.ranks.isFirst else {
      lock = nil
      return
    }
    do { try folder.create() } catch {
      // Another shard may have made it in the meantime.
      guard division.shard != nil, access(folder.path, F_OK) == 0 else { throw error }
    }
    lock = try FolderLock(folder: path, shard: division.shard)
    let parts = path + "/parts"
    try Directory.make(parts)
    // Those that other shards are writing are no leftovers.
    if division.shard == nil { for folder in [path, parts] { AtomicFile.removeLeftovers(inFolder: folder) } }
    try requireSame(identity, others)
  }

  /// Leaves word of what the folder is for, or compares it with what an earlier run left.
  private func requireSame(_ identity: StudyIdentity, _ others: Study.OtherBuilds) throws {
    let file = "\(path)/\(Self.identityName)"
    var status = stat()
    guard stat(file, &status) == 0 else { return try write(identity, to: file) }
    try requireSame(identity, as: file, others)
  }

  /// Takes the parts that folders of shards hold and this one doesn't.
  func merge(_ folders: [String], _ identity: StudyIdentity, others: Study.OtherBuilds) throws {
    for folder in folders {
      try requireSame(identity, as: "\(folder)/\(Self.identityName)", others)
      try ItemFolders.merge(["\(folder)/parts"], into: "\(path)/parts")
    }
  }

  private func requireSame(_ identity: StudyIdentity, as file: String, _ others: Study.OtherBuilds) throws {
    let bytes = try InputFile.bytes(path: file, limit: 1 << 28)
    guard var found = try? JSONDecoder().decode(StudyIdentity.self, from: Data(bytes)) else {
      throw FileError.malformed(
        path: file, what: "file", found: "other content", expected: "what a study wrote there")
    }
    if let (what, found, expected) = found.difference(from: identity) {
      throw TaskError(
        .data,
        "\(file): \(what) of the study in this folder: found \(found), expected \(expected); name another folder"
      )
    }
    builds = found.builds + builds.filter { !found.builds.contains($0) }
    let new = builds.filter { !found.builds.contains($0) }
    guard let build = new.first else { return }
    guard others == .kept else {
      throw TaskError(
        .data,
        "\(file): the solves in this folder are by aipo \(found.builds.joined(separator: " and ")), this is aipo \(build)"
          + ": name another folder, go on with the one that began, or keep its solves by --any-build")
    }
    found.builds = builds
    try write(found, to: "\(path)/\(Self.identityName)")
  }

  private func write(_ identity: StudyIdentity, to file: String) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    try AtomicFile.write(Array(try encoder.encode(identity)) + [UInt8(ascii: "\n")], to: file)
  }

  private func file(cell: Int, part: Int) -> String { "\(path)/parts/\(cell)-\(part).json" }

  /// The solves of a part; nil where it isn't done.
  func solves(cell: Int, part: Int) -> [StudySolve]? {
    guard let bytes = try? InputFile.bytes(path: file(cell: cell, part: part), limit: 1 << 30) else {
      return nil
    }
    return try? JSONDecoder().decode([StudySolve].self, from: Data(bytes))
  }

  func write(_ solves: [StudySolve], cell: Int, part: Int) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = .sortedKeys
    try AtomicFile.write(Array(try encoder.encode(solves)), to: file(cell: cell, part: part))
  }
}
