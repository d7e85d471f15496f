import AIPOKernels
import Testing

@Suite struct AdviceTests {
  @Test func aFindingIsTakenOnceHoweverManyImagesItIsAbout() {
    var list = AdviceList()
    let first = list.add([
      Advice("counts", of: "a.npy", "y is in counts: give --counts"),
      Advice("counts", of: "b.npy", "y is in counts: give --counts"),
      Advice("sigma", "σ is 25"),
    ])
    #expect(first == ["a.npy and 1 other: y is in counts: give --counts", "σ is 25"])
    let more = list.add([
      Advice("counts", of: "c.npy", "another text"), Advice("counts", of: "a.npy", "another text"),
      Advice("sigma", "σ is 26"), Advice("mask", of: "m.png", "it hides nothing"),
    ])
    #expect(more == ["m.png: it hides nothing"])
    #expect(
      list.lines == [
        "a.npy and 2 others: y is in counts: give --counts", "σ is 25", "m.png: it hides nothing",
      ])
  }

  @Test func aNameCannotBreakTheLine() {
    #expect(Advice("x", of: "a\nb", "c\u{1B}[31m").description == "a\\u{a}b: c\\u{1b}[31m")
  }
}

@Suite struct EstimateTests {
  @Test func meanAndStandardError() throws {
    // s² = (4 + 1 + 1 + 4)/3 about 5.
    let estimate = try #require(Estimate([3, nil, 4, 6, 7]))
    #expect(estimate.mean == 5 && estimate.count == 4)
    #expect(abs(try #require(estimate.standardError) - (10.0 / 12).squareRoot()) < 1e-15)
    #expect(Estimate([2, nil])?.standardError == nil)
    #expect(Estimate([Double?.none]) == nil)
  }
}
