import AIPOImaging
import Testing

@Suite struct PlanePictureTests {
  private typealias Color = (red: UInt8, green: UInt8, blue: UInt8)
  private let white: Color = (red: 255, green: 255, blue: 255)

  private func pixel(_ picture: PlanePicture, _ column: Int, _ row: Int) -> [UInt8] {
    Array(picture.pixels[3 * (row * picture.columns + column)..<3 * (row * picture.columns + column) + 3])
  }

  @Test func upwardsAndToTheRight() {
    let values = [0.0, 1, 2, 3, 4, .nan]
    let picture = PlanePicture(values: values, columns: 3, x: 0...3, y: 0...2, scale: 0...4)
    #expect(picture.rows == 2)
    // The first values are of the lowest y: the bottom row.
    for (k, value) in values.enumerated() {
      let color = ColorMap.color(value / 4)
      #expect(pixel(picture, k % 3, 1 - k / 3) == [color.red, color.green, color.blue])
    }
    #expect(PlanePicture.middles(0...3, 3) == [0.5, 1.5, 2.5])
  }

  @Test func pointsAndLines() {
    let dark = [Double](repeating: 0, count: 40 * 20)
    let empty = PlanePicture(values: dark, columns: 40, x: -2...2, y: 0...1, scale: 0...1)
    var picture = empty
    // The middle of pixel (10, 5) from the top left.
    picture.addPoint((x: -2 + 10.5 / 10, y: 1 - 5.5 / 20), radius: 1.2, color: white)
    #expect(pixel(picture, 10, 5) == [255, 255, 255])
    #expect(pixel(picture, 13, 5) == pixel(empty, 13, 5))
    picture = empty
    picture.addLine([(x: -2, y: 0.525), (x: 2, y: 0.525)], width: 1, color: white, opacity: 0.5)
    for column in 0..<40 { #expect(pixel(picture, column, 9)[0] > 120 && pixel(picture, column, 9)[0] < 135) }
    #expect(pixel(picture, 20, 12) == pixel(empty, 20, 12))
    picture = empty
    picture.addRing((x: 0.05, y: 0.475), radius: 5, width: 2, color: white)
    #expect(pixel(picture, 25, 10) == [255, 255, 255] && pixel(picture, 20, 10) == pixel(empty, 20, 10))
    // What lies outside, or nowhere, draws nothing.
    picture = empty
    picture.addLine([(x: 50, y: 50), (x: 60, y: 80)], width: 3, color: white)
    picture.addPoint((x: .nan, y: 0), radius: 3, color: white)
    #expect(picture.pixels == empty.pixels)
  }
}
