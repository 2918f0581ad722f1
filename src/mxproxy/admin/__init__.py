"""
The administration interface: what a proxy says of itself over HTTP, and what it can be told.

How a request flows: L{server<mxproxy.admin.server>} lets it in, or not; the table in
L{paths<mxproxy.admin.paths>} knows who answers; an answer is made of what each process of the
proxy says (L{views<mxproxy.admin.views>}), merged.  Paths, parameters and formats are Envoy's
where Envoy has them.
"""
