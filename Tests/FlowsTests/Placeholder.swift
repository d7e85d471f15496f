import Testing
import AIPOFlows
