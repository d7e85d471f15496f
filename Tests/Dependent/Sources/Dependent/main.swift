import AIPO
import Flows
import Imaging

let shape = ImageShape(height: 4, width: 4, channels: 1)
let images = try randomImages(3, shape: shape, seed: 1)
precondition(images.shape == [3, 4, 4, 1])
precondition(abs(brightness(images) - 0.5) < 0.1)
print("a dependent package sees images of \(shape)")
