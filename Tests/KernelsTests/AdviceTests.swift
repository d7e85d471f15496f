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

  @Test(
    arguments: [
      (25, "25"), (0.09803921568627451, "0.098"), (4019.7, "4,020"), (-0.5, "−0.5"), (65535, "65,535"),
      (1_234_567.8, "1,230,000"), (1.0 / 3, "0.333"), (999.7, "1,000"), (0.0999999, "0.1"), (0, "0"),
      (12.345, "12.3"), (1e-7, "1e-07"), (.infinity, "inf"),
    ] as [(Double, String)])
  func numbersForSentences(_ value: Double, _ text: String) {
    #expect(Advice.number(value) == text)
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
