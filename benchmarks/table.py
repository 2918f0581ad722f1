"""
Figures as text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from .summary import METRICS, Figure, Metric

Figures = Mapping[str, Mapping[str, Figure]]

_CELL = 22


def number(value: float) -> str:
    """
    Three digits, or all before the point.
    """
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _cell(found: Figure | None) -> str:
    if found is None:
        return "—".rjust(8)
    spread = f"±{found.spread * 100:.0f}%" if found.rounds > 1 else ""
    ratio = "" if found.ratio is None else f"{found.ratio:.2f}"
    return f"{number(found.median):>8} {spread:<5} {ratio:>5}"


def lines(figures: Figures, peers: Sequence[str], baseline: str | None) -> Iterator[str]:
    """
    A block for each section, a line for each peer.
    """
    sections: dict[str, list[Metric]] = {}
    for metric in METRICS:
        if metric.name in figures:
            sections.setdefault(metric.section, []).append(metric)
    width = max(map(len, peers), default=0) + 2
    if baseline is not None:
        yield f"median, spread, ratio to {baseline}"
    for section, metrics in sections.items():
        yield ""
        yield section
        titles = "".join(f"  {metric.title:>8}".ljust(_CELL) for metric in metrics)
        yield f"{'':{width}}{titles}".rstrip()
        for peer in peers:
            cells = [_cell(figures[metric.name].get(peer)) for metric in metrics]
            yield f"{peer:{width}}{''.join(f'  {cell}'.ljust(_CELL) for cell in cells)}".rstrip()
