import Testing
import AIPOImaging
