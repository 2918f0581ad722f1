"""
OpenTelemetry: a span for each connection, and all metrics, sent by OTLP.

An optional extra, C{mxproxy[otel]}; nobody else imports this package.  C{spans} says what a
connection is as a span, C{instruments} what a snapshot of the statistics is as metrics,
C{resource} who we are; C{exporting} has the SDK's threads.
"""
