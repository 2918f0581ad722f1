"""
From what an operator writes to the plan, the one input of L{mxproxy.service}.
"""
