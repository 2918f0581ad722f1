"""
Figures as a picture: what stands in a table, one panel a column.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .peers.registry import DIRECT
from .summary import METRICS
from .table import number

_COLUMNS = 4
_OWN, _OTHER, _BASELINE = "#c2185b", "#b0bec5", "#607d8b"


def plot(report: Mapping[str, Any], path: str | Path) -> None:
    """
    @param report: as it is written to the JSON.
    @param path: the PNG to write.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure as Page
    from matplotlib.patheffects import withStroke
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    figures, baseline = report["figures"], report["baseline"]
    metrics = [metric for metric in METRICS if metric.name in figures]
    if not metrics:
        return
    rows = -(-len(metrics) // _COLUMNS)
    peers = [peer for peer in report["peers"] if peer != DIRECT]
    # So that what is written on a bar can be read where the range's line crosses it.
    halo = [withStroke(linewidth=2, foreground="#ffffffb0")]
    page = Page(figsize=(4.2 * _COLUMNS, 0.9 + rows * (0.9 + 0.28 * len(peers))), dpi=100)
    axes = page.subplots(rows, _COLUMNS, squeeze=False)
    for axis in axes.flat[len(metrics) :]:
        axis.set_visible(False)
    for axis, metric in zip(axes.flat, metrics, strict=False):
        found = figures[metric.name]
        shown = [peer for peer in peers if peer in found]
        values = [found[peer]["median"] for peer in shown]
        errors = [
            [found[peer]["median"] - found[peer]["low"] for peer in shown],
            [found[peer]["high"] - found[peer]["median"] for peer in shown],
        ]
        colours = [
            _OWN if peer.startswith("mxproxy") else _BASELINE if peer == baseline else _OTHER
            for peer in shown
        ]
        axis.barh(
            shown, values, xerr=errors, color=colours, error_kw={"elinewidth": 1, "alpha": 0.6}
        )
        beside = axis.get_yaxis_transform()
        for place, peer in enumerate(shown):
            ratio = found[peer]["ratio"]
            text = number(found[peer]["median"]) + ("" if ratio is None else f"  ({ratio:.2f})")
            written = axis.text(
                0.01, place - 0.02, text, va="center", fontsize=8, transform=beside, zorder=5
            )
            written.set_path_effects(halo)
        if metric.section.startswith("latency"):
            # From a pair that keeps up to one that does not it is three orders of magnitude.
            axis.set_xscale("log")
            axis.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
            axis.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
            axis.xaxis.set_minor_formatter(NullFormatter())
        axis.invert_yaxis()
        axis.set_title(f"{metric.section}\n{metric.title}", fontsize=8)
        axis.tick_params(labelsize=8)
    machine, settings = report["machine"], report["settings"]
    page.suptitle(
        f"Pairs of proxies over mutual TLS on loopback; ratio to {baseline}; "
        f"{machine['cpus']} CPUs, {machine['cpu']}, {machine['kernel']}, "
        f"{settings['rounds']} rounds of {settings['seconds']:g} s",
        fontsize=10,
    )
    page.tight_layout(rect=(0, 0, 1, 0.98))
    page.savefig(path)
