"""Figures: the samples of each round, their medians and ratio, and the target (`Demand`)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal


@dataclass(frozen=True)
class Demand:
    """The target of a figure: a bound on the `ratio` of two columns or on their `difference`."""

    of: Literal["ratio", "difference"]
    bound: Literal[">=", "<="]
    limit: float

    def met_by(self, value: float) -> bool:
        return value >= self.limit if self.bound == ">=" else value <= self.limit


@dataclass
class Figure:
    """One row: `samples` has one value for each column and round, in `unit`.

    `compare` names the two compared columns; the second is the reference. A figure without a target is informative.
    `paired`: the samples of a round were taken in quick succession, so that other load on the machine affects both;
    the ratio is the median of the rounds' ratios.
    """

    case: str
    unit: str
    compare: tuple[str, str]
    demand: Demand | None = None
    samples: dict[str, list[float]] = field(default_factory=dict)
    paired: bool = False
    also: str | None = None
    """A second column to compare with, shown in parentheses."""

    def add(self, column: str, value: float) -> None:
        self.samples.setdefault(column, []).append(value)

    def median(self, column: str) -> float:
        return median(self.samples[column])

    @property
    def ratio(self) -> float | None:
        """The ratio of the compared columns, or None without a comparison."""
        ours, theirs = self.compare
        if ours == theirs or ours not in self.samples or not self.samples.get(theirs) or not self.median(theirs):
            return None
        if self.paired:
            return median(one / other for one, other in zip(self.samples[ours], self.samples[theirs], strict=True))
        return self.median(ours) / self.median(theirs)

    @property
    def difference(self) -> float:
        """The difference between the medians of the compared columns, in `unit`."""
        ours, theirs = self.compare
        return self.median(ours) - self.median(theirs)

    @property
    def met(self) -> bool | None:
        """Whether the target is met, or None without a target."""
        if self.demand is None:
            return None
        if self.demand.of == "difference":
            return self.demand.met_by(self.difference)
        return self.ratio is not None and self.demand.met_by(self.ratio)

    def as_json(self) -> dict[str, Any]:
        """Return the row for JSON: each column's samples and median, the ratio, the target, and whether it is met."""
        return {
            "case": self.case,
            "unit": self.unit,
            "samples": self.samples,
            "medians": {column: self.median(column) for column in self.samples},
            "ratio": self.ratio,
            "compare": self.compare,
            "demand": vars(self.demand) if self.demand else None,
            "met": self.met,
        }


def table(figures: list[Figure]) -> str:
    """Return the figures as a Markdown table with aligned columns."""
    columns = list(dict.fromkeys(column for figure in figures for column in figure.samples))
    rows = [["case", "unit", *columns, "relation", "demand"]]
    for figure in figures:
        medians = [number(figure.median(c)) if c in figure.samples else "" for c in columns]
        rows.append([figure.case, figure.unit, *medians, _relation(figure), _verdict(figure)])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    rows.insert(1, ["-" * width for width in widths])
    return "\n".join(_line(row, widths) for row in rows)


def number(value: float) -> str:
    """Return a value with three significant digits, or as a whole number from 100 on."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def percentile(values: Iterable[float], share: float) -> float:
    """Return the smallest of `values` that at least `share` (0 to 1) of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def _relation(figure: Figure) -> str:
    """Return the difference if the target is one, else the ratio."""
    if figure.demand is not None and figure.demand.of == "difference":
        return f"{figure.difference:+.3g}"
    if figure.ratio is None:
        return ""
    if figure.also is None or figure.also not in figure.samples:
        return f"x {figure.ratio:.2f}"
    return f"x {figure.ratio:.2f} ({figure.median(figure.compare[0]) / figure.median(figure.also):.2f})"


def _verdict(figure: Figure) -> str:
    demand = figure.demand
    if demand is None:
        return ""
    return f"{demand.of} {demand.bound} {demand.limit:g}: {'met' if figure.met else 'MISSED'}"


def _line(cells: list[str], widths: list[int]) -> str:
    text = (f"{c:<{w}}" if i < 2 else f"{c:>{w}}" for i, (c, w) in enumerate(zip(cells, widths, strict=True)))
    return "| " + " | ".join(text) + " |"
