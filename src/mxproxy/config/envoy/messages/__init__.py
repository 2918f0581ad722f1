"""
Generated from C{proto/} by C{scripts/generate-protobuf}; nothing else belongs here.
"""
