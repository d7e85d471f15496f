#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// libFuzzer's main, for callers who have one of their own.
@_silgen_name("LLVMFuzzerRunDriver")
private func runDriver(
  _ argumentCount: UnsafeMutablePointer<CInt>,
  _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>,
  _ body: @convention(c) (UnsafePointer<UInt8>?, Int) -> CInt
) -> CInt

/// `fuzz TARGET [libFuzzer's arguments]`; without any, the targets' names.
@main
enum Fuzz {
  nonisolated(unsafe) private static var target: FuzzTarget?

  static func main() {
    guard CommandLine.argc > 1 else {
      for target in FuzzTarget.all { print(target.name) }
      return
    }
    let name = CommandLine.arguments[1]
    target = FuzzTarget.all.first { $0.name == name }
    guard target != nil else {
      print("no target \(name)")
      exit(64)
    }
    // The program's name, then what follows the target's.
    let arguments = UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>.allocate(
      capacity: Int(CommandLine.argc))
    arguments[0] = CommandLine.unsafeArgv[0]
    for k in 2...Int(CommandLine.argc) { arguments[k - 1] = CommandLine.unsafeArgv[k] }
    var count = CommandLine.argc - 1
    var list = arguments
    exit(
      runDriver(&count, &list) { bytes, count in
        Fuzz.target?.run(Array(UnsafeBufferPointer(start: bytes, count: count)))
        return 0
      })
  }
}
