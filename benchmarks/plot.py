"""Bars with whiskers as SVG, in plain text: nothing to install, and readable in a page and on GitHub."""

from html import escape

WIDTH, LABEL, BAR, GAP, HEAD = 760, 150, 18, 8, 44
COLOURS = ("#3949ab", "#90a4ae")


def bars(title, unit, values, ours="rowqueue"):
    """One plot: {name: (middle, least, most)}, the rows in the order given."""
    most = max(high for _, _, high in values.values()) or 1
    scale = (WIDTH - LABEL - 130) / most
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEAD + len(values) * (BAR + GAP) + 8}" '
        'font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        f'<text x="8" y="22" font-size="15" font-weight="bold" fill="#222">{escape(title)} ({escape(unit)})</text>',
    ]
    for place, (name, (middle, least, highest)) in enumerate(values.items()):
        top = HEAD + place * (BAR + GAP)
        centre, text = top + BAR / 2, top + BAR - 5
        number = f"{middle:,.1f}" if most < 1000 else f"{middle:,.0f}"
        lines += [
            f'<text x="{LABEL - 8}" y="{text}" text-anchor="end" fill="#222">{escape(name)}</text>',
            f'<rect x="{LABEL}" y="{top}" width="{middle * scale:.1f}" height="{BAR}" fill="{COLOURS[name != ours]}"/>',
            f'<line x1="{LABEL + least * scale:.1f}" x2="{LABEL + highest * scale:.1f}" y1="{centre}" y2="{centre}" stroke="#222"/>',
            f'<text x="{LABEL + highest * scale + 8:.1f}" y="{text}" fill="#222">{number}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])
