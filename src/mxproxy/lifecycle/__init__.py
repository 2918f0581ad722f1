"""
Beginning, changing and ending: what happens to a proxy as a whole while connections are open.
"""
