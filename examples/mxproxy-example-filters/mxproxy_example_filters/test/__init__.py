"""
The filters, played: C{python -m twisted.trial mxproxy_example_filters}.
"""
