"""
What is told of connections: logs, counters, what is open.
"""
