// swift-tools-version: 6.2
import PackageDescription

let package = Package(
  name: "AIPO",
  platforms: [.macOS(.v15)],
  products: [
    .library(name: "AIPO", targets: ["AIPO"]),
    .library(name: "AIPOFlowTesting", targets: ["AIPOFlowTesting"]),
    .executable(name: "aipo", targets: ["aipo-cli"]),
  ],
  traits: [
    .default(enabledTraits: ["TIFF", "WebP"]),
    .trait(name: "TIFF", description: "Reading TIFF pictures, by libtiff."),
    .trait(name: "WebP", description: "Reading WebP pictures, by libwebp."),
    .trait(name: "MPI", description: "More than one process at work on a job, started by mpirun or srun."),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
    .package(url: "https://github.com/jpsim/Yams", from: "6.2.0"),
    .package(url: "https://github.com/swiftlang/swift-docc-plugin", from: "1.5.0"),
  ],
  targets: [
    .systemLibrary(
      name: "CAIPOOpenBLAS", path: "Sources/COpenBLAS", pkgConfig: "openblas",
      providers: [.apt(["libopenblas-dev"]), .brew(["openblas"])]),
    .systemLibrary(
      name: "CAIPOLAPACKE", path: "Sources/CLAPACKE", pkgConfig: "lapacke",
      providers: [.apt(["liblapacke-dev"]), .brew(["lapack"])]),
    .systemLibrary(
      name: "CAIPOPNG", path: "Sources/CPNG", pkgConfig: "libpng",
      providers: [.apt(["libpng-dev"]), .brew(["libpng"])]),
    .systemLibrary(
      name: "CAIPOTurboJPEG", path: "Sources/CTurboJPEG", pkgConfig: "libturbojpeg",
      providers: [.apt(["libturbojpeg0-dev"]), .brew(["jpeg-turbo"])]),
    .systemLibrary(
      name: "CAIPOZlib", path: "Sources/CZlib", pkgConfig: "zlib",
      providers: [.apt(["zlib1g-dev"]), .brew(["zlib"])]),
    .systemLibrary(
      name: "CAIPOTIFF", path: "Sources/CTIFF", pkgConfig: "libtiff-4",
      providers: [.apt(["libtiff-dev"]), .brew(["libtiff"])]),
    .systemLibrary(
      name: "CAIPOWebP", path: "Sources/CWebP", pkgConfig: "libwebp",
      providers: [.apt(["libwebp-dev"]), .brew(["webp"])]),
    // Open MPI's is ompi-c, MPICH's mpich; Debian calls the one that it was set to mpi-c.
    .systemLibrary(
      name: "CAIPOMPI", path: "Sources/CMPI", pkgConfig: Context.environment["AIPO_MPI"] ?? "mpi-c",
      providers: [.apt(["libopenmpi-dev"]), .brew(["open-mpi"])]),
    .target(name: "CAIPOFFT", path: "Sources/CFFT"),
    .target(
      name: "CAIPOKernels", dependencies: ["CAIPOOpenBLAS", "CAIPOLAPACKE"], path: "CKernels",
      sources: ["src"], publicHeadersPath: "include"),
    .target(name: "AIPOPlatform", path: "Sources/Platform"),
    .target(
      name: "AIPOKernels",
      dependencies: [
        "AIPOPlatform", "CAIPOKernels", "CAIPOFFT",
        .target(name: "CAIPOMPI", condition: .when(traits: ["MPI"])),
      ], path: "Sources/Kernels"),
    .target(
      name: "AIPOFlows",
      dependencies: ["AIPOKernels", .product(name: "Yams", package: "Yams")],
      path: "Sources/Flows"),
    .target(name: "AIPOPriors", dependencies: ["AIPOFlows"], path: "Sources/Priors"),
    .target(name: "AIPOProblems", dependencies: ["AIPOPriors"], path: "Sources/Problems"),
    .target(name: "AIPOSolvers", dependencies: ["AIPOProblems"], path: "Sources/Solvers"),
    .target(
      name: "AIPOImaging",
      dependencies: [
        "AIPOKernels", "CAIPOPNG", "CAIPOTurboJPEG", "CAIPOZlib",
        .target(name: "CAIPOTIFF", condition: .when(traits: ["TIFF"])),
        .target(name: "CAIPOWebP", condition: .when(traits: ["WebP"])),
      ],
      path: "Sources/Imaging"),
    .target(
      name: "AIPOInterchange", dependencies: ["AIPOFlows", "AIPOImaging"], path: "Sources/Interchange"),
    .target(
      name: "AIPOFlowTesting", dependencies: ["AIPOProblems"], path: "Sources/FlowTesting"),
    .target(
      name: "AIPOTasks", dependencies: ["AIPOSolvers", "AIPOImaging", "AIPOInterchange"],
      path: "Sources/Tasks"),
    .target(
      name: "AIPOStudies", dependencies: ["AIPOTasks", .product(name: "Yams", package: "Yams")],
      path: "Sources/Studies"),
    .target(
      name: "AIPOBenchmarks", dependencies: ["AIPOTasks"], path: "Sources/Benchmarks"),
    .target(name: "AIPO", dependencies: ["AIPOStudies"], path: "Sources/AIPO"),
    .executableTarget(
      name: "aipo-cli",
      dependencies: [
        "AIPO", "AIPOBenchmarks", "AIPOFlowTesting",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      path: "Sources/aipo-cli"),
    .testTarget(
      name: "KernelsTests", dependencies: ["AIPOKernels", "AIPOTestFiles", "CAIPOKernels", "CAIPOFFT"],
      path: "Tests/KernelsTests"),
    .target(name: "CAIPOAllocationCounting", path: "Tests/AllocationCounting"),
    .target(
      name: "AIPOTestFiles", dependencies: ["AIPOKernels", "CAIPOZlib"], path: "Tests/TestFiles",
      exclude: ["Cases", "Formats"]),
    .testTarget(
      name: "FlowsTests",
      dependencies: [
        "AIPOFlows", "AIPOFlowTesting", "AIPOTestFiles", "CAIPOAllocationCounting",
        .product(name: "Yams", package: "Yams"),
      ],
      path: "Tests/FlowsTests"),
    .target(
      name: "AIPOTestCases", dependencies: ["AIPOProblems", "AIPOFlowTesting"], path: "Tests/TestCases"),
    .testTarget(
      name: "ProblemsTests",
      dependencies: [
        "AIPOProblems", "AIPOFlowTesting", "AIPOTestCases", "AIPOTestFiles", "CAIPOAllocationCounting",
      ],
      path: "Tests/ProblemsTests"),
    .testTarget(
      name: "SolversTests",
      dependencies: [
        "AIPOSolvers", "AIPOFlowTesting", "AIPOTestCases", "AIPOTestFiles", "CAIPOAllocationCounting",
      ],
      path: "Tests/SolversTests"),
    .testTarget(
      name: "ImagingTests", dependencies: ["AIPOImaging", "AIPOTestFiles"], path: "Tests/ImagingTests"),
    .testTarget(
      name: "InterchangeTests", dependencies: ["AIPOInterchange", "AIPOTestFiles"],
      path: "Tests/InterchangeTests",
      exclude: ["Fixtures"]),
    .testTarget(name: "TasksTests", dependencies: ["AIPOStudies"], path: "Tests/TasksTests"),
    .testTarget(
      name: "CLITests", dependencies: ["aipo-cli", "AIPOTasks", "AIPOTestFiles"], path: "Tests/CLITests"),
  ]
)

// What .ci/run sets. Off for everybody else, whose newer compiler may have newer warnings.
if Context.environment["AIPO_STRICT"] != nil {
  for target in package.targets where target.type != .system {
    target.swiftSettings = (target.swiftSettings ?? []) + [.treatAllWarnings(as: .error)]
    target.cSettings = (target.cSettings ?? []) + [.enableWarning("all"), .treatAllWarnings(as: .error)]
  }
}
