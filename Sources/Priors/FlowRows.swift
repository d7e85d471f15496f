import AIPOFlows
import AIPOKernels

/// The rows of a large image under a flow of convolutions, as ranks share them.
///
/// What a row gives to the log-density depends on the rows of the flow's reach beside it, and so does its gradient on twice as many. So a
/// rank takes the flow through a *window*, its strip with these rows, and counts the strip's part. Rows that two windows have are
/// computed twice, and nothing is handed over on the way.
public struct FlowRows: Sendable {
  /// Of the whole image.
  public let imageShape: ImageShape
  let strips: Strips
  private let step: Int
  private let margin: Int

  /// - Parameters:
  ///   - spec: the flow's layers, none of which sees a whole image at once.
  ///   - imageShape: of the whole image.
  ///   - ranks: those that share it.
  /// - Returns: nil where the flow can't be taken by rows, or the image has so few that windows would hardly be smaller: fewer
  ///   than four times the rows that are added to a strip.
  public init?(_ spec: FlowSpec, imageShape: ImageShape, ranks: any Ranks = OneRank()) {
    guard let reach = spec.reach else { return nil }
    // A checkerboard's parity is that of the row behind all squeezes.
    step = 2 * spec.sideDivisor
    margin = (2 * reach + step - 1) / step * step
    guard imageShape.height >= max(4 * 2 * margin, step * ranks.count) else { return nil }
    self.imageShape = imageShape
    strips = Strips(ranks: ranks, height: imageShape.height, step: step)
  }

  /// Rows of the image that a rank takes the flow through.
  func window(_ rank: Int) -> Range<Int> {
    let own = strips.rows(rank: rank)
    return max(0, own.lowerBound - margin)..<min(imageShape.height, own.upperBound + margin)
  }

  private func shape(_ rows: Range<Int>) -> ImageShape {
    ImageShape(height: rows.count, width: imageShape.width, channels: imageShape.channels)
  }

  var windowShape: ImageShape { shape(window(strips.ranks.rank)) }
  var stripShape: ImageShape { shape(strips.rows()) }

  /// This rank's rows, counted in its window.
  var ownInWindow: Range<Int> {
    let (own, first) = (strips.rows(), window(strips.ranks.rank).lowerBound)
    return own.lowerBound - first..<own.upperBound - first
  }
}
