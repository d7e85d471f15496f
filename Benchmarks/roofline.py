"""The roofline of the kernels as an SVG: speed against operations a byte, from `aipo bench kernels --json`.

S. Williams, A. Waterman, D. Patterson, *Roofline: an insightful visual performance model*, CACM 2009.
"""

import math
from html import escape

WIDTH, HEIGHT = 860, 520
LEFT, RIGHT, TOP, BOTTOM = 70, 30, 50, 60
COLORS = {"forward": "#1f6fb4", "adjoint": "#d9822b", "gradient": "#3a9d5d"}


def draw(kernels):
    """`kernels`: the object that `aipo bench kernels --json` prints."""
    points = [one for one in kernels["kernels"] if one["gflops"]]
    peak, memory, cache = kernels["sgemm_gflops"], kernels["memory_gbs"], kernels["cache_gbs"]
    x_low, x_high = 0.125, 2 ** math.ceil(math.log2(max(one["intensity"] for one in points) * 1.2))
    y_low, y_high = 2 ** math.floor(math.log2(min(one["gflops"] for one in points) / 2)), 2 * peak

    def x(value):
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log(value / x_low) / math.log(x_high / x_low)

    def y(value):
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * math.log(value / y_low) / math.log(y_high / y_low)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="system-ui, sans-serif" font-size="13" fill="#222">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="28" font-size="16" font-weight="600">Convolutions on one thread, kernels '
        f'{escape(kernels["variant"])}, {escape(kernels["precision"])}</text>',
    ]
    tick = 2.0 ** math.ceil(math.log2(x_low))
    while tick <= x_high:
        label = f"{tick:g}" if tick >= 1 else f"1/{1 / tick:g}"
        parts.append(f'<line x1="{x(tick):.1f}" y1="{TOP}" x2="{x(tick):.1f}" y2="{HEIGHT - BOTTOM}" stroke="#e6e6e6"/>')
        parts.append(f'<text x="{x(tick):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{label}</text>')
        tick *= 2
    tick = 2.0 ** math.ceil(math.log2(y_low))
    while tick <= y_high:
        parts.append(f'<line x1="{LEFT}" y1="{y(tick):.1f}" x2="{WIDTH - RIGHT}" y2="{y(tick):.1f}" stroke="#e6e6e6"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>')
        tick *= 2
    parts.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 14}" text-anchor="middle">operations a byte of input, '
        "output and weights, each moved once</text>"
    )
    parts.append(f'<text x="20" y="{HEIGHT / 2}" text-anchor="middle" transform="rotate(-90 20 {HEIGHT / 2})">GFLOP/s</text>')
    for name, speed, dash in [("memory", memory, "6 4"), ("cache", cache, "2 3")]:
        ridge = peak / speed
        start = max(x_low, y_low / speed)
        parts.append(
            f'<line x1="{x(start):.1f}" y1="{y(start * speed):.1f}" x2="{x(ridge):.1f}" y2="{y(peak):.1f}" stroke="#555" '
            f'stroke-width="1.5" stroke-dasharray="{dash}"/>'
        )
        middle = math.sqrt(start * ridge)
        angle = -math.degrees(math.atan2(y(start * speed) - y(peak), x(ridge) - x(start)))
        parts.append(
            f'<text transform="translate({x(middle):.1f} {y(middle * speed) - 8:.1f}) rotate({angle:.1f})" '
            f'text-anchor="middle" fill="#555">{name}, {speed:.0f} GB/s</text>'
        )
    parts.append(
        f'<line x1="{x(peak / max(memory, cache)):.1f}" y1="{y(peak):.1f}" x2="{WIDTH - RIGHT}" y2="{y(peak):.1f}" '
        'stroke="#555" stroke-width="1.5"/>'
    )
    parts.append(
        f'<text x="{x(peak / max(memory, cache)):.1f}" y="{y(peak) - 8:.1f}" fill="#555">matrix product of the BLAS, '
        f"{peak:.0f} GFLOP/s</text>"
    )
    for one in points:
        color = COLORS[one["kernel"].split()[-1]]
        at_x, at_y = x(one["intensity"]), y(one["gflops"])
        title = f"<title>{escape(one['kernel'])}, {escape(one['shape'])}: {one['gflops']:.1f} GFLOP/s</title>"
        if "1×1" in one["kernel"]:
            parts.append(
                f'<rect x="{at_x - 4:.1f}" y="{at_y - 4:.1f}" width="8" height="8" fill="{color}" fill-opacity="0.75">'
                f"{title}</rect>"
            )
        else:
            parts.append(f'<circle cx="{at_x:.1f}" cy="{at_y:.1f}" r="4.5" fill="{color}" fill-opacity="0.75">{title}</circle>')
    for row, (name, color) in enumerate(COLORS.items()):
        at_y = HEIGHT - BOTTOM - 74 + 18 * row
        text = "gradient of the weights" if name == "gradient" else name
        parts.append(f'<circle cx="{WIDTH - 212}" cy="{at_y}" r="4.5" fill="{color}"/>')
        parts.append(f'<text x="{WIDTH - 200}" y="{at_y + 4}">{text}</text>')
    at_y = HEIGHT - BOTTOM - 74 + 54
    parts.append(f'<text x="{WIDTH - 216}" y="{at_y + 4}" fill="#555">● 3×3, ■ 1×1</text>')
    return "\n".join(parts + ["</svg>"]) + "\n"
