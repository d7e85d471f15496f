import Foundation
import Testing

/// Labels of pictures, and what reports compare.
@Suite(.serialized) struct PictureTests {
  let fixture: Fixture
  let folder: Scratch

  init() throws {
    fixture = try Fixture.shared.get()
    folder = try Scratch()
    try folder.write(Fixture.images, to: "images.idx")
  }

  /// Width and height of a PNG.
  private func size(_ name: String) throws -> [Int] {
    let header = Array(try folder.read(name).prefix(24))
    return [16, 20].map { start in header[start..<(start + 4)].reduce(0) { $0 << 8 | Int($1) } }
  }

  @Test func gridsHaveLabels() throws {
    let grid = ["grid", "images.idx", "--columns", "12", "--scale", "4", "--gap", "4", "--quiet"]
    for (name, labels) in [
      ("plain", []), ("rows", ["--row-labels", "truth", "observed", "fixed", "aipo"]),
      ("both", ["--labels"] + (1...12).map(String.init) + ["--row-labels", "a", "b", "c", "d"]),
    ] {
      let made = try fixture.run(grid + ["--out", "\(name).png"] + labels, in: folder)
      #expect(made.status == 0 && made.error.isEmpty, "\(made.error)")
    }
    let (plain, rows, both) = (try size("plain.png"), try size("rows.png"), try size("both.png"))
    #expect(plain == [12 * 36 - 4, 4 * 36 - 4])
    #expect(rows[0] > plain[0] + 40 && rows[1] == plain[1])
    #expect(both[0] < rows[0] && both[0] > plain[0] && both[1] > plain[1] + 15)
    for labels in [["--labels", "one"], ["--row-labels", "a", "b", "c"]] {
      let refused = try fixture.run(grid + ["--out", "no.png"] + labels, in: folder)
      #expect(refused.status == 64 && refused.error.contains("48 images in 12 columns"), "\(refused.error)")
    }
    #expect(!folder.exists("no.png"))
  }

  @Test func sheetsNameTheirRowsAndColumns() throws {
    let task = ["reconstruct", "--task", "denoise", "--simulate", "images.idx", "--indices", "0:3:1"]
    let flags = ["--method", "gaussian", "--quiet", "--sheet"]
    for (name, more) in [("a.png", []), ("b.png", ["--no-sheet-labels"])] {
      let made = try fixture.run(task + flags + [name] + more, in: folder)
      #expect(made.status == 0, "\(made.error)")
    }
    let (named, bare) = (try size("a.png"), try size("b.png"))
    #expect(bare == [3 * 30 - 6, 3 * 30 - 6])
    #expect(named[0] >= bare[0] + 60 && named[1] >= bare[1] + 36)
  }

  /// A row of images that the others don't have is compared with none of them, however high its mean.
  @Test func boldIsTheBestOfTheSameImages() throws {
    let yaml = """
      title: Rows of other images
      options: {task: denoise, simulate: images.idx, max-evaluations: 20, lambda: 1}
      variants:
        - {method: gaussian, indices: "0:4:1", sigma: 0.3}
        - {method: fixed, indices: "0:4:1", sigma: 0.2}
        - {method: aipo, indices: "4:6:1", sigma: 0.01}
      grids: [{name: Denoising}]

      """
    try folder.write(Array(yaml.utf8), to: "study.yaml")
    let made = try fixture.run(["study", "study.yaml", "--out", "out", "--threads", "1"], in: folder)
    try #require(made.status == 0, "\(made.error)")
    let lines = String(decoding: try folder.read("out/results.md"), as: UTF8.self).split(separator: "\n")
    func row(_ method: String) throws -> [String] {
      let line = try #require(lines.first { $0.hasPrefix("| \(method)") })
      return line.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
    }
    func mean(_ cell: String) -> Double? {
      Double(cell.drop { $0 == "*" }.prefix { $0 != " " && $0 != "*" })
    }
    let (gaussian, fixed, aipo) = (try row("gaussian")[2], try row("fixed")[2], try row("aipo")[2])
    let means = try [gaussian, fixed, aipo].map { try #require(mean($0), "\($0)") }
    #expect(means[2] > max(means[0], means[1]) + 3 && gaussian.contains("±"))
    #expect(!aipo.hasPrefix("**"))
    #expect(gaussian.hasPrefix("**") == (means[0] > means[1]))
    #expect(fixed.hasPrefix("**") == (means[1] > means[0]))
    let page = String(decoding: try folder.read("out/report.html"), as: UTF8.self)
    #expect(page.contains("further steps no longer") || page.contains("budget of evaluations was used up"))
    #expect(!page.contains("evaluation budget used up"))
  }
}
