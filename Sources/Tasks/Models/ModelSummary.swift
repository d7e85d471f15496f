import AIPOFlows
import AIPOKernels

/// What a model file holds, in words and as JSON.
package struct ModelSummary {
  let model: FlowModel
  let source: ModelSource

  package init(_ model: FlowModel, _ source: ModelSource) {
    self.model = model
    self.source = source
  }

  /// A line a setting, for people.
  package func text() throws -> String {
    var rows: [(String, String)] = [("model", source.path)]
    func add(_ name: String, _ value: String) { if !value.isEmpty { rows.append((name, value)) } }
    add("name", model.name)
    if model.imageShape.isVector {
      add("vectors", "\(model.imageShape.channels) values, as images of \(model.imageShape)")
    } else {
      add(
        "images",
        "\(model.imageShape), trained on these; accepts \(model.acceptedSizes)")
      if let stride = model.patchStride {
        let patch = "\(model.imageShape.height)x\(model.imageShape.width)"
        add("reconstructs", "any size, in patches of \(patch), one every \(stride) pixels")
      }
    }
    add("layers", "\(try model.spec.flattened().count)")
    add("base", model.spec.base.rawValue)
    if let condition = model.spec.condition {
      add(
        "noise levels",
        "s from \(condition.least) to \(condition.greatest), as deviations of pixels on [0, 1]")
    }
    add("parameters", "\(model.parameterCount) (\(model.dtypeName))")
    add(
      "dequantisation",
      model.dequantization.isNone
        ? "none: values are real numbers" : "\(model.dequantization.bits) bits, uniform")
    add("images' statistics", statistics)
    if let steps = model.figures.steps { add("steps", "\(steps)") }
    if let images = model.figures.trainingImages { add("training images", "\(images)") }
    if let value = model.figures.validation { add("validation", Self.figure(value)) }
    if let value = model.figures.test { add("test", Self.figure(value)) }
    for noise in model.figures.noise ?? [] {
      let gaussian = noise.gaussian.map { "; of the Gaussian \(fixed($0.bitsPerDim, 4))" } ?? ""
      add("with noise \(fixed(noise.level, 3))", Self.figure(noise.flow) + gaussian)
    }
    if let bits = model.figures.trainingBits { add("their bits/dim", Self.text(bits)) }
    if let bits = model.figures.validationBits { add("bits/dim, kept back", Self.text(bits)) }
    add("provenance", model.provenance)
    add("licence", model.licence)
    add("checksum", "sha256 \(source.checksum)")
    var lines = aligned(rows)
    if !model.recipe.isEmpty {
      lines.append("recipe")
      lines += model.recipe.split(separator: "\n").map { "  " + $0 }
    }
    return lines.joined(separator: "\n")
  }

  /// Bits/dim with its standard error, where there is one.
  package static func figure(_ value: Evaluation) -> String {
    let error = value.standardError.map { " ± \(fixed($0, 4))" } ?? ""
    return "\(fixed(value.bitsPerDim, 4))\(error) bits/dim on \(counted(value.images, "image"))"
  }

  private var statistics: String {
    switch model.statistics?.covariance {
    case nil: "none"
    case .full: "mean and full covariance"
    case .stationary(let lags):
      "means of channels and stationary covariance, of pixels up to \(lags.lagY) by \(lags.lagX) apart"
    }
  }

  package func json() throws -> JSONValue {
    let shape = model.imageShape
    return [
      "model": .string(source.path), "name": .string(model.name), "checksum": .string(source.checksum),
      "imageShape": [
        "height": .int(shape.height), "width": .int(shape.width), "channels": .int(shape.channels),
      ],
      "acceptedSizes": .string(model.acceptedSizes),
      "patchStride": model.patchStride.map { .int($0) } ?? .null,
      "architecture": JSONValue(encoding: model.spec),
      "layers": .int(try model.spec.flattened().count), "base": .string(model.spec.base.rawValue),
      "condition": JSONValue(encoding: model.spec.condition), "parameters": .int(model.parameterCount),
      "dtype": .string(model.dtypeName),
      "dequantization": ["bits": .int(model.dequantization.bits)], "statistics": .string(statistics),
      "recipe": .string(model.recipe), "figures": Self.figures(model.figures),
      "provenance": .string(model.provenance), "licence": .string(model.licence),
      "version": .string(AIPOVersion.number), "kernels": .string(AIPOVersion.kernels),
    ]
  }

  package static func text(_ value: BitsDistribution) -> String {
    "median \(fixed(value[0.5], 2)), from \(fixed(value[0], 2)) to \(fixed(value[1], 2)), rarely above "
      + "\(fixed(value.limit, 2)) (\(counted(value.images, "image")) measured)"
  }

  /// The figures of a model, nothing left out.
  package static func figures(_ figures: ModelFigures) -> JSONValue {
    .object(
      JSONValue(encoding: figures).members.map { name, value in
        switch name {
        case "trainingBits": (name, bits(figures.trainingBits))
        case "validationBits": (name, bits(figures.validationBits))
        default: (name, value)
        }
      })
  }

  private static func bits(_ value: BitsDistribution?) -> JSONValue {
    guard let value else { return .null }
    return [
      "images": .int(value.images), "levels": .array(BitsDistribution.levels.map { .number($0) }),
      "bitsPerDim": .array(value.quantiles.map { .number($0) }),
    ]
  }
}
