/// The umbrella module: `import AIPO` brings flows, inverse problems, the continuation, imaging, tasks and studies.
@_exported import AIPOContinuation
@_exported import AIPOFlows
@_exported import AIPOImaging
@_exported import AIPOInterchange
@_exported import AIPOInverseProblems
@_exported import AIPOKernels
@_exported import AIPOStudies
@_exported import AIPOTasks
