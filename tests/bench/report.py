"""How the figures of a benchmark are printed: medians with quartiles, in a table."""
import statistics


def spread(values):
    """`median [lower quartile-upper quartile]`; with fewer than four rounds: of least and most."""
    if not values:
        return "-"
    ordered = sorted(values)
    low, high = (ordered[0], ordered[-1]) if len(ordered) < 4 else (
        statistics.quantiles(ordered, n=4)[0], statistics.quantiles(ordered, n=4)[2])
    return f"{statistics.median(ordered):.2f} [{low:.2f}-{high:.2f}]"


def show(rows, markdown):
    if markdown:
        rows.insert(1, ["---"] * len(rows[0]))
        for row in rows:
            print("| " + " | ".join(row) + " |")
        return
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(w) if i < 2 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths))))
