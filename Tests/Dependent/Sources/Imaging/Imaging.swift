import AIPO

/// The mean of all pixels.
public func brightness(_ images: Tensor<Double>) -> Double {
  images.elements.reduce(0, +) / Double(images.count)
}
