"""
Statistics in Prometheus' text formats.

The families of L{mxproxy.observe.stats} are written by prometheus_client, in the format that the
scraper accepts.  Istio's series, of which there may be a thousand with two dozen labels each, are
written here: prometheus_client takes half a second for them, and nothing else happens meanwhile.

A family whose name ends in C{_total} is a counter or is said to be of unknown type; any other is
a gauge, or of unknown type if it counts: Envoy's names stay as they are, and both formats (and
C{promtool check metrics}) have counters end like this.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from .snapshot import Snapshot
from .stats import ISTIO, STATS, Kind, Stat, find

_END = b"# EOF\n"
_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


def expose(snapshot: Snapshot, accept: str = "") -> tuple[bytes, str]:
    """
    @param accept: the scraper's Accept header.
    @return: the text, and its content type.
    """
    encode, contentType = choose_encoder(accept)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(snapshot["stats"].items()))
    text: bytes = encode(registry)
    openMetrics = text.endswith(_END)
    istio = "".join(_istio(snapshot["istio"], openMetrics)).encode()
    return (text.removesuffix(_END) + istio + (_END if openMetrics else b"")), contentType


class _Families(Collector):
    def __init__(self, stats: Iterable[tuple[str, float]]) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        """Families, in the order in which they are declared, then those that are not."""
        families: dict[Stat, Metric] = {stat: _family(stat) for stat in STATS}
        for name, value in self._stats:
            stat, parts = find(name)
            if not stat.prometheus:
                continue
            family = families.get(stat)
            if family is None:
                family = families[stat] = _family(stat)
            labels = dict(zip(stat.prometheusLabels, parts, strict=True))
            family.add_sample(stat.family, labels, value)
        return iter([family for family in families.values() if family.samples])


def _family(stat: Stat) -> Metric:
    total = stat.family.endswith("_total")
    kind = "unknown"
    if total and stat.kind is Kind.COUNTER:
        kind = "counter"
    elif not total and stat.kind is Kind.GAUGE:
        kind = "gauge"
    name = stat.family.removesuffix("_total") if kind == "counter" else stat.family
    return Metric(name, stat.help, kind)


def _istio(istio: dict[str, Sequence[object]], openMetrics: bool) -> Iterator[str]:
    series: Sequence[list[object]] = istio["series"]  # type: ignore[assignment]
    if not series:
        return
    template = ",".join(f'{name}="%s"' for name in istio["names"])
    labels = [template % _escaped(one[0]) for one in series]  # type: ignore[arg-type]
    for index, metric in enumerate(ISTIO, 1):
        name = metric.name.removesuffix("_total") if openMetrics else metric.name
        yield f"# HELP {name} {metric.help}\n# TYPE {name} counter\n"
        for text, one in zip(labels, series, strict=True):
            yield f"{metric.name}{{{text}}} {one[index]}\n"


def _escaped(values: Sequence[str]) -> tuple[str, ...]:
    joined = "".join(values)
    if '"' in joined or "\\" in joined or "\n" in joined:
        return tuple(value.translate(_ESCAPES) for value in values)
    return tuple(values)
