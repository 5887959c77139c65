#!/usr/bin/env python3
"""One picture of a bench: `vl2 bench --csv` or `--json` files -> an SVG, with nothing but Python.

    vl2 bench --dummy tiny --full --csv > tiny.csv
    bench/plot_bench.py tiny.csv [more.json …] -o docs/bench.svg

Three panels: prefill speed over the prompt's length, decoding speed over the context and over the number
of sequences, and the share of the measured peak that each stage reaches. A file is a colour.
"""
import argparse
import csv
import html
import io
import json
import pathlib

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 340, 260, 56, 46, 40
COLOURS = ["#2463b4", "#c2571a", "#2a8a4a", "#8a3fa0", "#a08a1c"]


def nice_top(value):
    """The least of 1, 2, 2.5, 5 times a power of ten that is not below value."""
    unit = 1.0
    while unit * 10 <= value:
        unit *= 10
    while unit > value:
        unit /= 10
    return next(unit * m for m in (1, 2, 2.5, 5, 10) if unit * m >= value)


class Panel:
    def __init__(self, index, title, across, up):
        self.x0, self.index = index * (WIDTH + 20), index
        self.title, self.across, self.up = title, across, up
        self.series = []  # (label, colour, [(x text, y)])

    def add(self, label, colour, points):
        if points:
            self.series.append((label, colour, points))

    def ticks(self):
        """All x values, in the order of their numbers."""
        return sorted({x for _, _, points in self.series for x, _ in points})

    def place(self, ticks, top, x, y):
        inner = WIDTH - LEFT - 16
        at = ticks.index(x) / max(1, len(ticks) - 1) if len(ticks) > 1 else 0.5
        return self.x0 + LEFT + at * inner, HEIGHT - BOTTOM - y / top * (HEIGHT - BOTTOM - TOP)

    def svg(self):
        out = [f'<text x="{self.x0 + LEFT}" y="20" class="title">{html.escape(self.title)}</text>']
        if not self.series:
            return out + [f'<text x="{self.x0 + LEFT}" y="{HEIGHT / 2}">not measured</text>']
        ticks, top = self.ticks(), nice_top(max(y for s in self.series for _, y in s[2]))
        for k in range(5):
            _, y = self.place(ticks, top, ticks[0], top * k / 4)
            out.append(f'<path d="M{self.x0 + LEFT} {y:.1f}h{WIDTH - LEFT - 16}" class="grid"/>')
            out.append(f'<text x="{self.x0 + LEFT - 6}" y="{y + 4:.1f}" class="end">{top * k / 4:g}</text>')
        for x in ticks:
            at, _ = self.place(ticks, top, x, 0)
            out.append(f'<text x="{at:.1f}" y="{HEIGHT - BOTTOM + 16}" class="mid">{x}</text>')
        out.append(f'<text x="{self.x0 + (LEFT + WIDTH) / 2}" y="{HEIGHT - 10}" class="mid">{html.escape(self.across)}</text>')
        out.append(f'<text x="{self.x0 + 8}" y="34">{html.escape(self.up)}</text>')
        for label, colour, points in self.series:
            spots = [self.place(ticks, top, x, y) for x, y in sorted(points)]
            out.append(f'<path d="M{" L".join(f"{x:.1f} {y:.1f}" for x, y in spots)}" stroke="{colour}" class="line"/>')
            out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"><title>{html.escape(label)}: {points_y:g}</title></circle>'
                    for (x, y), (_, points_y) in zip(spots, sorted(points))]
        return out


def shares(rows, x0, colours):
    """Bars: the best share of its peak that each stage reached."""
    out, y = [f'<text x="{x0}" y="20" class="title">Share of the measured peak</text>'], 48
    for k, (name, table) in enumerate(rows):
        for stage in ("vision", "projector", "prefill", "decode"):
            told = [r for r in table if r["stage"] == stage and float(r["share_percent"]) > 0
                    and (stage != "decode" or int(r["size"]) <= 1)]       # what several sequences read is an estimate
            if not told:
                continue
            best = max(told, key=lambda r: float(r["share_percent"]))
            share = min(100.0, float(best["share_percent"]))
            out.append(f'<text x="{x0}" y="{y + 10}">{stage}</text>')
            out.append(f'<rect x="{x0 + 62}" y="{y}" width="200" height="12" class="empty"/>')
            out.append(f'<rect x="{x0 + 62}" y="{y}" width="{2 * share:.1f}" height="12" fill="{colours[k]}"/>')
            out.append(f'<text x="{x0 + 268}" y="{y + 10}">{float(best["share_percent"]):.0f} % of {best["peak"]}</text>')
            y += 20
        y += 8
    return out


def read(path):
    """The rows of either form as the CSV has them; empty where it is neither."""
    text = path.read_text(encoding="utf-8")
    if not text.startswith("{"):
        return list(csv.DictReader(io.StringIO(text)))
    told = json.loads(text)
    common = {k: told.get(k, "") for k in ("model", "compute", "cpu_level", "threads")}
    missing = {"size": 0, "context": 0, "rate": 0, "share_percent": 0, "peak": ""}
    return [{k: str(v) for k, v in {**common, **missing, **row}.items()} for row in told.get("stages", [])]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", nargs="+", type=pathlib.Path)
    parser.add_argument("-o", "--output", required=True, type=pathlib.Path)
    arguments = parser.parse_args()
    prefill = Panel(0, "Prefill", "tokens of the prompt", "tokens/s")
    context = Panel(1, "Decoding, one sequence", "tokens before it", "tokens/s")
    company = Panel(2, "Decoding, several at once", "sequences", "tokens/s, together")
    tables, names = [], []
    for k, path in enumerate(arguments.bench):
        table = read(path)
        if not table or "share_percent" not in table[0]:
            parser.error(f"{path}: is not what `vl2 bench` writes with --csv or --json")
        colour, name = COLOURS[k % len(COLOURS)], path.stem
        names.append((name, colour, table[0]))
        tables.append((name, table))
        decode = [r for r in table if r["stage"] == "decode"]
        prefill.add(name, colour, [(int(r["size"]), float(r["rate"])) for r in table if r["stage"] == "prefill"])
        context.add(name, colour, [(int(r["context"]), float(r["rate"])) for r in decode if r["size"] == "1"])
        first = min((int(r["context"]) for r in decode if r["size"] != "1"), default=0)
        company.add(name, colour, [(int(r["size"]), float(r["rate"])) for r in decode if int(r["context"]) == first])
    body = [line for panel in (prefill, context, company) for line in panel.svg()]
    body += shares(tables, 3 * (WIDTH + 20) + 10, [COLOURS[k % len(COLOURS)] for k in range(len(tables))])
    for k, (name, colour, row) in enumerate(names):
        y = HEIGHT + 22 + 20 * k
        body.append(f'<rect x="{LEFT}" y="{y - 10}" width="12" height="12" fill="{colour}"/>')
        body.append(f'<text x="{LEFT + 18}" y="{y}">{html.escape(name)}: {html.escape(row["model"])}, compute {row["compute"]}, '
                    f'CPU level {row["cpu_level"]}, {row["threads"]} threads</text>')
    width, height = 4 * (WIDTH + 20) + 60, HEIGHT + 30 + 20 * len(names)
    style = ("text{font:12px sans-serif;fill:#333}.title{font-weight:bold;font-size:13px}.mid{text-anchor:middle}"
             ".end{text-anchor:end}.grid{stroke:#ddd}.line{fill:none;stroke-width:2}.empty{fill:#eee}")
    arguments.output.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
        f'<style>{style}</style><rect width="100%" height="100%" fill="#fff"/>\n' + "\n".join(body) + "\n</svg>\n",
        encoding="utf-8")


if __name__ == "__main__":
    main()
