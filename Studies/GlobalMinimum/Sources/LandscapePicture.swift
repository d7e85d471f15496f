import AIPO

/// A landscape of the plane with the path through it: bright is low. The path is a white line from its first solved
/// point to its end (a white disc); blue points are where descents at fixed λ from random starts ended; the green ring
/// is the global minimum.
enum LandscapePicture {
  private static let side = 480
  private static let depth = 15.0

  static func make(
    _ prior: TrainedPrior, _ outcome: Cell.Outcome, image: Int, path: Int, others: [[Double]]
  ) throws -> PlanePicture {
    let box = -0.1...1.1
    let axis = PlanePicture.middles(box, side)
    let data = outcome.problem.dataTerm(image, encoding: nil)
    let scratch = Scratch()
    var values: [Double] = []
    for y in axis {
      let row = try Tensor<Double>(shape: [side, 1, 1, 2], elements: axis.flatMap { [$0, y] })
      for (x, logProb) in zip(axis, try prior.flow.evaluate(row)) {
        values.append(logProb - (try data.evaluate([x, y], scratch).value))
      }
    }
    let (lowest, minimum) = outcome.lowest[image]
    var picture = PlanePicture(
      values: values, columns: side, x: box, y: box, scale: -lowest - depth...(-lowest))
    func point(_ x: [Double]) -> (x: Double, y: Double) { (x[0], x[1]) }
    picture.addRing(point(minimum), radius: 11, width: 3, color: (red: 60, green: 230, blue: 90))
    for other in others { picture.addPoint(point(other), radius: 4, color: (red: 70, green: 160, blue: 255)) }
    let found = outcome.found[path]![image]
    let states = found.states.filter { $0.event != .start }
    picture.addLine(states.map { point($0.pixels) }, width: 2.5, color: (red: 255, green: 255, blue: 255))
    for state in states {
      picture.addPoint(point(state.pixels), radius: 2.5, color: (red: 255, green: 255, blue: 255))
    }
    picture.addPoint(point(found.point), radius: 5, color: (red: 255, green: 255, blue: 255))
    return picture
  }
}
