import AIPOFlows
import AIPOKernels
import AIPOPlatform

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// A folder that keeps what numbered items of a job came to, a file an item: the same job goes on in it, and processes that
/// divide the job hand their results to each other in it.
struct ItemFolder<Item: Codable> {
  let path: String
  /// SHA-256 of what decides the results.
  private let job: String

  private struct Kept: Codable {
    var job: String
    var item: Item
  }

  /// Makes the folder where there is none. `decides` is the job in words. Throws `unwritable`.
  init(_ path: String, decides: [String]) throws(FileError) {
    self.path = path
    job = SHA256.hexDigest(Array(decides.joined(separator: "\n").utf8))
    try Directory.make(path)
  }

  private func file(_ number: Int) -> String { "\(path)/item-\(number).json" }

  func holds(_ number: Int) -> Bool { access(file(number), F_OK) == 0 }

  /// Throws where the item isn't there, is another job's, or damaged.
  func read(_ number: Int) throws -> Item {
    let file = file(number)
    let decoder = JSONDecoder()
    decoder.nonConformingFloatDecodingStrategy = .convertFromString(
      positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
    guard
      let kept = try? decoder.decode(Kept.self, from: Data(try InputFile.bytes(path: file, limit: 1 << 32)))
    else {
      throw holds(number)
        ? TaskError(.data, "\(file): what was kept is damaged; remove it to do it again")
        : TaskError(
          .data, "\(file) is missing: every rank and shard must use the same folder, and all be done")
    }
    guard kept.job == job else {
      throw TaskError(
        .data,
        "\(file): it was kept by a run of other settings, expected the same; name another folder, or remove it"
      )
    }
    return kept.item
  }

  func write(_ item: Item, _ number: Int) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = .sortedKeys
    encoder.nonConformingFloatEncodingStrategy = .convertToString(
      positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
    try AtomicFile.write(Array(try encoder.encode(Kept(job: job, item: item))), to: file(number))
  }
}

/// The folders of parts of a job.
package enum ItemFolders {
  /// Removes what parts kept in a folder, and the folder where nothing else is in it.
  package static func remove(_ folder: String) {
    for name in Directory.names(folder) ?? []
    where name.hasPrefix("item-") || name.hasPrefix("image-") || AtomicFile.isLeftover(name) {
      unlink("\(folder)/\(name)")
    }
    rmdir(folder)
  }

  /// Copies into a folder, which is made, the files of others that it doesn't hold yet.
  package static func merge(_ sources: [String], into folder: String) throws {
    guard !sources.isEmpty else { return }
    try Directory.make(folder)
    for source in sources {
      guard let names = Directory.names(source) else {
        throw FileError.missing(path: source, reason: FileError.reason(errno))
      }
      for name in names
      where (name.hasSuffix(".json") || name.hasSuffix(".npz")) && !AtomicFile.isLeftover(name)
        && access("\(folder)/\(name)", F_OK) != 0
      {
        try AtomicFile.write(
          try InputFile.bytes(path: "\(source)/\(name)", limit: 1 << 32), to: "\(folder)/\(name)")
      }
    }
  }
}
