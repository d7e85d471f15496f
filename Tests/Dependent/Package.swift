// swift-tools-version: 6.2
// Somebody else's package: one line depends on AIPO, and modules of its own have names that
// AIPO's folders have too. `make test-dependent` builds and runs it in debug and in release, together with
// the example that it takes out of the README (see scripts/test-dependent).
import PackageDescription

let aipo: Target.Dependency = .product(name: "AIPO", package: "AIPO")

let package = Package(
  name: "Dependent",
  platforms: [.macOS(.v15)],
  dependencies: [
    .package(name: "AIPO", path: "../..")
  ],
  targets: [
    .target(name: "Kernels", dependencies: [aipo]),
    .target(name: "Flows", dependencies: ["Kernels", aipo]),
    .target(name: "Imaging", dependencies: ["Kernels", aipo]),
    .executableTarget(name: "Dependent", dependencies: ["Flows", "Imaging", aipo]),
    .executableTarget(
      name: "Blur", dependencies: [aipo, .product(name: "AIPOFlowTesting", package: "AIPO")]),
    .executableTarget(name: "ReadmeExample", dependencies: [aipo]),
  ]
)
