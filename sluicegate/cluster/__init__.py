"""How the parts of one or of many nodes find and hear each other.

Each door is a Protocol; beside it stands the implementation that one process needs, which keeps everything in memory.
"""
