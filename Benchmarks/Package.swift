// swift-tools-version: 6.2
// Benchmarks for regressions; a package of its own, so that nobody who depends on AIPO builds its tools.
// `swift package benchmark` runs them; see README.md.
import PackageDescription

let package = Package(
  name: "AIPOBenchmarks",
  platforms: [.macOS(.v15)],
  dependencies: [
    .package(name: "AIPO", path: ".."),
    .package(url: "https://github.com/ordo-one/benchmark", from: "1.38.0", traits: []),
  ],
  targets: [
    .executableTarget(
      name: "Speed",
      dependencies: [
        .product(name: "AIPO", package: "AIPO"), .product(name: "AIPOFlowTesting", package: "AIPO"),
        .product(name: "Benchmark", package: "benchmark"),
      ],
      path: "Speed",
      plugins: [.plugin(name: "BenchmarkPlugin", package: "benchmark")])
  ]
)
