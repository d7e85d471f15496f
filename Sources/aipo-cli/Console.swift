import AIPOPlatform

/// Standard output and standard error, written with every error seen.
enum Console {
  /// A reader that goes away must not kill the program in the middle of its files, and a closed stream must
  /// not have its number taken by a file that is opened later.
  static func prepareStreams() {
    signal(SIGPIPE, SIG_IGN)
    for descriptor in Int32(0)...2 where fcntl(descriptor, F_GETFD) < 0 {
      // Read-only, so that writing to a closed output still fails and is reported.
      _ = open("/dev/null", O_RDONLY)
    }
  }

  /// Whether nothing is written but a failure: of ranks the first one speaks.
  nonisolated(unsafe) static var isSilent = false

  static let errorIsTerminal = isatty(STDERR_FILENO) != 0

  /// Writes all of `text` to standard output. A reader that has gone away is no error: nobody is left to
  /// tell. Anything else (a full disk, a closed stream) is.
  static func output(_ text: String) throws(CommandFailure) {
    guard !isSilent else { return }
    let code = put(text, on: STDOUT_FILENO)
    guard code == 0 || code == EPIPE else {
      throw CommandFailure(.cannotWrite, "standard output: \(String(cString: strerror(code)))")
    }
  }

  /// A line on standard error. If even that can't be written, there is nowhere left to say so.
  static func error(_ line: String) {
    guard !isSilent else { return }
    failure(line)
  }

  /// A line on standard error that every rank may write.
  static func failure(_ line: String) {
    _ = put(line + "\n", on: STDERR_FILENO)
  }

  /// The text as it is on standard error, for a line that is drawn over and over.
  static func errorRaw(_ text: String) {
    guard !isSilent else { return }
    _ = put(text, on: STDERR_FILENO)
  }

  /// Columns of the terminal on standard error.
  static var errorColumns: Int {
    var size = winsize()
    guard ioctl(STDERR_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return 80 }
    return Int(size.ws_col)
  }

  /// 0 or the error number.
  private static func put(_ text: String, on descriptor: Int32) -> Int32 {
    var text = text
    return text.withUTF8 { bytes in
      var done = 0
      while done < bytes.count {
        let written = write(descriptor, bytes.baseAddress! + done, bytes.count - done)
        if written > 0 {
          done += written
        } else if errno != EINTR {
          return errno
        }
      }
      return 0
    }
  }
}
