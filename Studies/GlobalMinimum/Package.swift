// swift-tools-version: 6.2
// Does the path find the global minimum? A study on problems small enough to know; a package of its own, so that nobody
// who depends on AIPO builds it. `make study-global` runs it.
import PackageDescription

let package = Package(
  name: "GlobalMinimum",
  platforms: [.macOS(.v15)],
  dependencies: [
    .package(name: "AIPO", path: "../.."),
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
  ],
  targets: [
    .executableTarget(
      name: "GlobalMinimum",
      dependencies: [
        .product(name: "AIPO", package: "AIPO"),
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      path: "Sources")
  ]
)
