/// The umbrella module: `import AIPO` brings flows, priors, inverse problems, solvers, imaging, tasks and studies.
@_exported import AIPOFlows
@_exported import AIPOImaging
@_exported import AIPOInterchange
@_exported import AIPOKernels
@_exported import AIPOPriors
@_exported import AIPOProblems
@_exported import AIPOSolvers
@_exported import AIPOStudies
@_exported import AIPOTasks
