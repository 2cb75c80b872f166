"""The chart of a benchmark: ratios as horizontal bars on a logarithmic axis, as SVG."""
import math
from xml.sax.saxutils import escape

COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#777777")
BAR, GAP, LEFT, WIDTH, TOP = 9, 10, 150, 560, 60
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)


def draw(ratios, title):
    """`ratios`: {work: {peer: times better}}; 1 is the line in the middle, right of it is better."""
    peers = list(dict.fromkeys(peer for by in ratios.values() for peer in by))
    values = [v for by in ratios.values() for v in by.values()] or [1]
    low, high = min(0.5, *values), max(2, *values)

    def x(value):
        return LEFT + (math.log(value) - math.log(low)) / (math.log(high) - math.log(low)) * WIDTH

    lines, y = [], TOP
    for work, by in ratios.items():
        lines.append(f'<text x="{LEFT - 8}" y="{y + BAR}" text-anchor="end">{escape(work)}</text>')
        for peer, value in by.items():
            left, right = sorted((x(1), x(value)))
            lines.append(f'<rect x="{left:.1f}" y="{y}" width="{max(right - left, 1):.1f}" height="{BAR}" '
                         f'fill="{COLOURS[peers.index(peer) % len(COLOURS)]}"><title>{escape(f"{work}, against {peer}: {value:.2f}")}'
                         f'</title></rect>')
            y += BAR
        y += GAP
    axis = [f'<line x1="{x(t):.1f}" y1="{TOP - 6}" x2="{x(t):.1f}" y2="{y}" stroke="{"#333" if t == 1 else "#ddd"}"/>'
            f'<text x="{x(t):.1f}" y="{TOP - 10}" text-anchor="middle">{t:g}</text>' for t in TICKS if low <= t <= high]
    legend = [f'<rect x="{LEFT + 160 * i}" y="24" width="10" height="10" fill="{COLOURS[i % len(COLOURS)]}"/>'
              f'<text x="{LEFT + 160 * i + 14}" y="33">against {escape(peer)}</text>' for i, peer in enumerate(peers)]
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 40}" height="{y + 10}" font-family="sans-serif" font-size="11">',
        f'<rect width="100%" height="100%" fill="white"/><text x="{LEFT}" y="15" font-weight="bold">{escape(title)}</text>',
        *legend, *axis, *lines, "</svg>", ""])
