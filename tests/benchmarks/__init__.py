"""
What benchmarks/ computes and prints; nothing here takes a time.
"""
