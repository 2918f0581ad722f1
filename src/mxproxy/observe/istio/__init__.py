"""
Istio's standard metrics for TCP: who talked to whom, and how much.

  - L{labels<mxproxy.observe.istio.labels>}: what a connection's metrics are labelled with; pure.
  - L{workloads<mxproxy.observe.istio.workloads>}: who is at an address, where no peer says.
  - L{series<mxproxy.observe.istio.series>}: the values, a bounded number of them.

When they are reported is L{mxproxy.observe.telemetry}.
"""
