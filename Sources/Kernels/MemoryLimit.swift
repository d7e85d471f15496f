import AIPOPlatform
import Synchronization

/// How much memory arrays may take. What would be more is refused before it is allocated: the system would end the
/// process for it, now or when the memory is written to.
public enum MemoryLimit {
  private static let limit = Atomic<Int>(.max)
  private static let reserve = Atomic<Int>(leastHeadroom)
  private static let held = Atomic<Int>(0)

  /// Bytes that all arrays together may take; at first there is no limit.
  public static var bytes: Int {
    get { limit.load(ordering: .relaxed) }
    set { limit.store(newValue, ordering: .relaxed) }
  }

  /// Bytes of address space that arrays leave to everything else where the process has a limit on it (`ulimit -v`);
  /// `leastHeadroom` at first.
  public static var headroom: Int {
    get { reserve.load(ordering: .relaxed) }
    set { reserve.store(newValue, ordering: .relaxed) }
  }

  /// 256 MiB.
  public static let leastHeadroom = 256 << 20

  /// Bytes of the machine's memory, or fewer where a control group of the process allows fewer.
  public static var ofSystem: Int {
    let pages = sysconf(Int32(_SC_PHYS_PAGES)).multipliedReportingOverflow(by: sysconf(Int32(_SC_PAGESIZE)))
    let machine = pages.overflow || pages.partialValue <= 0 ? Int.max : pages.partialValue
    #if os(Linux)
      return ControlGroup.memoryLimits().reduce(machine, min)
    #else
      return machine
    #endif
  }

  /// Bytes that arrays may still take, or already have if they are `own`: of the limit and of the system's memory what
  /// other arrays don't hold.
  public static func available(beside own: Int) -> Int {
    max(0, min(bytes, system) - max(0, held.load(ordering: .relaxed) - own))
  }

  private static let system = ofSystem

  /// Whether so many bytes more may be allocated.
  public static func allows(_ count: Int) -> Bool {
    let (sum, overflow) = held.load(ordering: .relaxed).addingReportingOverflow(count)
    return !overflow && sum <= bytes && hasAddressSpace(count)
  }

  /// Throws where a file's content would take more memory than there is.
  public static func require(_ count: Int, for path: String) throws(FileError) {
    guard count < small || allows(count) else {
      throw .missing(path: path, reason: "not enough memory for an array of \(count) bytes")
    }
  }

  /// What needs no question.
  static let small = 1 << 18

  /// Counts an array that is about to be allocated; false where it may not be.
  static func take(_ count: Int) -> Bool {
    let (sum, overflow) = held.add(count, ordering: .relaxed).oldValue.addingReportingOverflow(count)
    guard !overflow, sum <= bytes, hasAddressSpace(count) else {
      give(count)
      return false
    }
    return true
  }

  /// Counts an array that is gone.
  static func give(_ count: Int) { held.subtract(count, ordering: .relaxed) }

  private static let isAddressSpaceLimited: Bool = {
    var limit = rlimit()
    #if canImport(Glibc)
      guard getrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &limit) == 0 else { return false }
    #else
      guard getrlimit(RLIMIT_AS, &limit) == 0 else { return false }
    #endif
    return limit.rlim_cur < UInt64(Int64.max)
  }()

  private static func hasAddressSpace(_ count: Int) -> Bool {
    guard isAddressSpaceLimited else { return true }
    let (bytes, overflow) = count.addingReportingOverflow(headroom)
    guard !overflow else { return false }
    let place = mmap(nil, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANON | MAP_NORESERVE, -1, 0)
    guard let place, place != MAP_FAILED else { return false }
    munmap(place, bytes)
    return true
  }
}

#if os(Linux)
  /// The control group that the process runs in, and those around it.
  enum ControlGroup {
    /// Their limits on memory, in bytes, of version 2 or 1. `text` gives a file's text, nil where there is none.
    ///
    /// Source: cgroups(7); the kernel's *cgroup-v1/memory* and *cgroup-v2*.
    static func memoryLimits(_ text: (_ path: String) -> String? = ControlGroup.content) -> [Int] {
      var limits: [Int] = []
      for line in text("/proc/self/cgroup")?.split(separator: "\n") ?? [] {
        // number:controllers:path
        let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
        guard fields.count == 3 else { continue }
        let root: String
        let file: String
        if fields[1].isEmpty {
          (root, file) = ("/sys/fs/cgroup", "memory.max")
        } else if fields[1].split(separator: ",").contains("memory") {
          (root, file) = ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        } else {
          continue
        }
        var folder = fields[2] == "/" ? "" : fields[2]
        while true {
          // No limit is the word "max", or a number above all memory.
          let found = text("\(root)\(folder)/\(file)")?.split(separator: "\n").first
          if let limit = found.flatMap({ Int($0) }) { limits.append(limit) }
          guard let slash = folder.lastIndex(of: "/") else { break }
          folder = folder[..<slash]
        }
      }
      return limits
    }

    private static func content(_ path: String) -> String? {
      (try? InputFile.bytes(path: path, limit: 1 << 16)).map { String(decoding: $0, as: UTF8.self) }
    }
  }
#endif
