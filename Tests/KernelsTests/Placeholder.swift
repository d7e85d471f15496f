import Testing
import AIPOKernels
