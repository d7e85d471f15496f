// swift-tools-version: 6.2
// libFuzzer targets for every reader of files; a package of its own, so that nobody who depends on AIPO builds them.
// `make fuzz` runs them; see README.md.
import PackageDescription

let package = Package(
  name: "AIPOFuzz",
  platforms: [.macOS(.v15)],
  dependencies: [.package(name: "AIPO", path: "..")],
  targets: [
    .executableTarget(
      name: "fuzz", dependencies: [.product(name: "AIPO", package: "AIPO")], path: "Sources")
  ]
)
