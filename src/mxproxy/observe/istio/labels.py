"""
What Istio labels a connection's metrics with.

Only names and values belong here: what is known of a connection goes in, a label set comes out.
Names, values and their fallbacks are those of Istio's own extension
(istio/proxy, source/extensions/filters/http/istio_stats/istio_stats.cc):

  - C{reporter} is C{source} where the proxy stands in front of the client and C{destination}
    where it stands in front of the server.  The own side's labels are what the node says of
    itself, the other side's what the exchange has found.
  - What is unknown is C{unknown}, an unknown revision C{latest}.
  - A namespace is the one that the certificate proves; the claimed one only where none is.
  - C{connection_security_policy} is C{unknown} on the source's side.

Beyond Istio: where the exchange has found nobody, a directory of workloads by address is asked
(L{mxproxy.observe.istio.workloads}); and a service's namespace may come from the configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from cryptography import x509

from ...config.plan import ServicePlan
from ...connection import Connection, Peer
from ...tls.identity import readIdentities
from ...wire.metadata import Metadata, Node
from ..access_log import PRINCIPAL_LIMIT
from ..flags import responseFlags
from ..stats import familyName

#: What is not known.
UNKNOWN, LATEST = "unknown", "latest"

#: Values of C{reporter}.
SOURCE, DESTINATION = "source", "destination"

#: Values of C{connection_security_policy}, beside L{UNKNOWN}.
MUTUAL_TLS, NONE = "mutual_tls", "none"

#: The labels, in the order in which Istio writes them.
LABELS = (
    "reporter",
    "source_workload",
    "source_canonical_service",
    "source_canonical_revision",
    "source_workload_namespace",
    "source_principal",
    "source_app",
    "source_version",
    "source_cluster",
    "destination_workload",
    "destination_workload_namespace",
    "destination_principal",
    "destination_app",
    "destination_version",
    "destination_service",
    "destination_canonical_service",
    "destination_canonical_revision",
    "destination_service_name",
    "destination_service_namespace",
    "destination_cluster",
    "request_protocol",
    "response_flags",
    "connection_security_policy",
)

#: The longest value, in characters, principals aside; names in DNS and Kubernetes end at 253.
TEXT_LIMIT = 256

#: Clusters that Istio makes for what belongs to no service; their name stands for one.
NO_SERVICE = frozenset(
    {
        "BlackHoleCluster",
        "PassthroughCluster",
        "InboundPassthroughCluster",
        "InboundPassthroughClusterIpv4",
        "InboundPassthroughClusterIpv6",
    }
)

_NOBODY = Metadata()


class Labeller:
    """
    Makes label sets.

    @ivar names: the labels' names, in the order of the values.
    """

    def __init__(
        self,
        node: Node,
        services: Mapping[str, ServicePlan] | None = None,
        additional: Sequence[str] = (),
        find: Callable[[object], Metadata | None] = lambda address: None,
        serviceAccounts: bool = False,
    ) -> None:
        """
        @param services: by cluster, where connections go.
        @param additional: names of labels that travel beside the known ones; each becomes two
            of the metrics' labels, C{source_NAME} and C{destination_NAME}.
        @param find: who is at an C{IAddress}.
        @param serviceAccounts: a workload that nobody names is called like the service account
            that its certificate proves, instead of C{unknown}.
        """
        self._services = services or {}
        self._additional = tuple(additional)
        self._find = find
        self._serviceAccounts = serviceAccounts
        self._own = node.describe(self._additional)
        self.names = LABELS + tuple(
            additionalName(side, name) for side in (SOURCE, DESTINATION) for name in additional
        )

    def replaced(self, node: Node, services: Mapping[str, ServicePlan]) -> Labeller:
        """
        @return: one that makes the same labels, with other values for who we are and where
            connections go.
        """
        return Labeller(node, services, self._additional, self._find, self._serviceAccounts)

    def values(self, reporter: str, connection: Connection) -> tuple[str, ...]:
        """
        @param reporter: L{SOURCE} or L{DESTINATION}.
        @return: a value for each of L{names}.
        """
        peer = connection.downstream if reporter == DESTINATION else connection.upstream
        own, ownPrincipal = self._own, localPrincipal(peer)
        theirs, principal = self.identify(peer), peer.principals[0] if peer.principals else ""
        namespace = namespaceOf(principal) or theirs.namespace
        service = self._services.get(connection.cluster)
        if reporter == DESTINATION:
            source, destination = theirs, own
            sourceNamespace, destinationNamespace = namespace, own.namespace
            sourcePrincipal, destinationPrincipal = principal, ownPrincipal
            host, serviceName = own.service, own.service
            serviceNamespace = own.namespace
            security = MUTUAL_TLS if principal and ownPrincipal else NONE
        else:
            source, destination = own, theirs
            sourceNamespace, destinationNamespace = own.namespace, namespace
            sourcePrincipal, destinationPrincipal = ownPrincipal, principal
            host = serviceName = ""
            serviceNamespace = namespace
            security = UNKNOWN
        if connection.cluster in NO_SERVICE:
            serviceName = connection.cluster
        elif service is not None:
            host = service.host or host
            serviceName = service.name or service.host.partition(".")[0] or serviceName
            serviceNamespace = serviceNamespace or service.namespace
        flags = ",".join(flag.short for flag in responseFlags(connection)) or "-"
        return (
            reporter,
            _text(source.workload),
            _text(source.service),
            _text(source.revision, LATEST),
            _text(sourceNamespace),
            _text(sourcePrincipal, limit=PRINCIPAL_LIMIT),
            _text(source.app),
            _text(source.version),
            _text(source.cluster),
            _text(destination.workload),
            _text(destinationNamespace),
            _text(destinationPrincipal, limit=PRINCIPAL_LIMIT),
            _text(destination.app),
            _text(destination.version),
            _text(host),
            _text(destination.service),
            _text(destination.revision, LATEST),
            _text(serviceName),
            _text(serviceNamespace),
            _text(destination.cluster),
            "tcp",
            flags,
            security,
            *(
                _text(side.labels.get(name, ""))
                for side in (source, destination)
                for name in self._additional
            ),
        )

    def identify(self, peer: Peer) -> Metadata:
        """
        The peer's own word, else the directory's, else what the certificate has of it.
        """
        if isinstance(peer.metadata, Metadata):
            return peer.metadata
        found = self._find(peer.address)
        if found is not None:
            return found
        if self._serviceAccounts and peer.principals:
            account = serviceAccountOf(peer.principals[0])
            return Metadata(workload=account, service=account)
        return _NOBODY


def additionalName(side: str, name: str) -> str:
    """
    The name of an additional label.

    @param side: L{SOURCE} or L{DESTINATION}.
    @param name: of the label that travels.
    """
    plain = f"{side}_{familyName(name)}"
    return plain if plain not in LABELS else f"{side}_label_{familyName(name)}"


def namespaceOf(principal: str) -> str:
    """
    The namespace in C{spiffe://DOMAIN/ns/NAMESPACE/sa/ACCOUNT}, or nothing.
    """
    return principal.partition("/ns/")[2].partition("/")[0]


def serviceAccountOf(principal: str) -> str:
    """
    The service account in C{spiffe://DOMAIN/ns/NAMESPACE/sa/ACCOUNT}, or nothing.
    """
    return principal.partition("/sa/")[2].partition("/")[0]


def contradicts(peer: Peer) -> bool:
    """
    Whether the namespace that a peer claims is another than the one that its certificate
    proves.
    """
    if not peer.principals or not peer.metadata.namespace:
        return False
    proven = namespaceOf(peer.principals[0])
    return bool(proven) and proven != peer.metadata.namespace


def localPrincipal(peer: Peer) -> str:
    """
    Who we have shown the peer that we are.
    """
    certificate = peer.local_certificate
    return "" if certificate is None else _principal(certificate)


# A proxy has a few certificates, and connects with each of them thousands of times.
@lru_cache(maxsize=64)
def _principal(certificate: x509.Certificate) -> str:
    try:
        return readIdentities(certificate).principal or ""
    except Exception:  # noqa: BLE001 - of many kinds, see there; our own certificate is odd
        return ""


def _text(text: str, unknown: str = UNKNOWN, limit: int = TEXT_LIMIT) -> str:
    if not text:
        return unknown
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
