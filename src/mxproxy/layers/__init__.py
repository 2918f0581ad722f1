"""
Twisted machinery that knows no filter: layers, how they are joined, paused and left.
"""
