"""Results as a text table and as JSON."""
import json
from dataclasses import dataclass


@dataclass
class Row:
    """Our figure, the peer's figure, and the target."""

    what: str
    ours: float
    theirs: float | None = None
    theirs_is: str = ""
    ratio_at_most: float | None = None
    ratio_at_least: float | None = None
    at_most: float | None = None
    holds: bool = True

    @property
    def ratio(self):
        return self.ours / self.theirs if self.theirs else None

    @property
    def target(self):
        if self.at_most is not None:
            return f"≤ {self.at_most:g}"
        if self.ratio_at_most is not None:
            return f"ratio ≤ {self.ratio_at_most:.3g}"
        if self.ratio_at_least is not None:
            return f"ratio ≥ {self.ratio_at_least:.3g}"
        return ""

    @property
    def met(self):
        """Whether the target is met; None without a target."""
        if not self.target:
            return None
        if self.at_most is not None:
            return self.holds and self.ours <= self.at_most
        if self.ratio is None:
            return False
        low_enough = self.ratio_at_most is None or self.ratio <= self.ratio_at_most
        return self.holds and low_enough and (self.ratio_at_least is None or self.ratio >= self.ratio_at_least)


def shown(value):
    if value is None:
        return "-"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3f}" if value < 10 else f"{value:.1f}"


def table(rows):
    """The results as text lines."""
    cells = [["what", "ours", "theirs", "ratio", "wanted", "", "beside"]]
    for row in rows:
        verdict = {True: "met", False: "MISSED", None: ""}[row.met]
        cells.append([row.what, shown(row.ours), shown(row.theirs), shown(row.ratio), row.target, verdict, row.theirs_is])
    widths = [max(len(line[n]) for line in cells) for n in range(7)]
    for line in cells:
        yield "  ".join(
            cell.rjust(width) if n in (1, 2, 3) else cell.ljust(width) for n, (cell, width) in enumerate(zip(line, widths))
        ).rstrip()


def write(path, head, rows, records):
    """The results and all runs as JSON."""
    figures = [
        {"what": r.what, "ours": r.ours, "theirs": r.theirs, "theirs_is": r.theirs_is, "ratio": r.ratio, "target": r.target, "met": r.met}
        for r in rows
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**head, "figures": figures, "runs": records}, indent=1, ensure_ascii=False) + "\n")
