"""
Is what the soak finds right?
"""
