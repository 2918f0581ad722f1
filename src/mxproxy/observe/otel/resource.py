"""
Who we are, as an OpenTelemetry resource.

Attribute names are those of the semantic conventions (U{https://opentelemetry.io/docs/specs/semconv/}).
What the environment says (C{OTEL_SERVICE_NAME}, C{OTEL_RESOURCE_ATTRIBUTES}) wins.
"""

from __future__ import annotations

import os
from typing import Final

from opentelemetry.sdk.resources import OTELResourceDetector, Resource

from ... import __version__
from ...wire.metadata import Node

#: What an instance without any name is called.
NAMELESS: Final = "mxproxy"

_WORKLOAD_TYPES: Final = {
    "deployment": "k8s.deployment.name",
    "job": "k8s.job.name",
    "cronjob": "k8s.cronjob.name",
}


def resourceOf(node: Node, worker: bool = False) -> Resource:
    """
    @param node: what peers are told, too.
    @param worker: whether it is one of several processes; each is an instance by itself, as each
        has counters of its own.
    """
    metadata = node.describe()
    instance = node.id or metadata.name
    said = {
        "service.name": metadata.service or metadata.app or metadata.workload or NAMELESS,
        "service.namespace": metadata.namespace,
        "service.version": metadata.version,
        "service.instance.id": f"{instance}/{os.getpid()}" if worker else instance,
        "k8s.pod.name": metadata.name,
        "k8s.namespace.name": metadata.namespace,
        "k8s.cluster.name": metadata.cluster,
        _WORKLOAD_TYPES.get(metadata.type, ""): metadata.workload,
        "cloud.region": metadata.region,
        "cloud.availability_zone": metadata.availability_zone,
        "telemetry.distro.name": "mxproxy",
        "telemetry.distro.version": __version__,
    }
    own = Resource.create({name: value for name, value in said.items() if name and value})
    return own.merge(OTELResourceDetector().detect())
