"""A report's three forms: lines for a terminal, Markdown for the card, one page of HTML."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SAMPLE_SEEDS, SAMPLE_TEMPERATURE = (1, 2, 3), 0.8
_FIGURES = {"bits_per_byte": 3, "word_perplexity": 1, "token_perplexity": 2}


@dataclass(frozen=True)
class Table:
    """Further findings. head: of the columns, the first one names the rows."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        lines = [self.head, ["---"] * len(self.head), *self.rows]
        shown = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"{self.title}:\n\n{shown}"

    def page(self) -> str:
        """A heading and a table of HTML."""
        rows = [f"<tr>{_cells(self.head, 'th')}</tr>"]
        rows += [f"<tr>{_cells(row, 'td')}</tr>" for row in self.rows]
        return f"<h2>{html.escape(self.title)}</h2>\n<table>{''.join(rows)}</table>"


@dataclass(frozen=True, kw_only=True)
class Report:
    """facts: a line on what was trained. rows: name to figures, the model first. tables: what else
    was found. worst: word, mean nats, times seen."""

    name: str
    facts: str
    rows: Mapping[str, Mapping[str, float]]
    tables: Sequence[Table]
    worst: Sequence[tuple[str, float, int]]
    samples: Sequence[str]
    notes: Sequence[str]
    commands: Sequence[str]

    def lines(self) -> list[str]:
        """For a terminal."""
        table = [f"{'':28}{'bits/byte':>10}{'word ppl':>12}{'token ppl':>12}"]
        for name, row in self.rows.items():
            shown = [cell or "-" for cell in _figures(row)]
            table.append(f"{name:28}{shown[0]:>10}{shown[1]:>12}{shown[2]:>12}")
        worst = ", ".join(f"{word} ({nats:.1f})" for word, nats, _ in self.worst[:8])
        return [
            *table,
            *self.notes,
            f"hardest words, nats each: {worst}" if worst else "",
            *(f"sample {k}: {text!r}" for k, text in zip(SAMPLE_SEEDS, self.samples, strict=True)),
            "next:",
            *(f"  {command}" for command in self.commands),
        ]

    def markdown(self) -> str:
        """For the model card."""
        head = "| on the validation text | bits a byte | word perplexity | token perplexity |\n"
        lines = [head + "|---|---|---|---|"]
        for name, row in self.rows.items():
            lines.append(f"| {name} | {' | '.join(_figures(row))} |")
        samples = "\n".join(
            f"- seed {k}: {_one_line(text)}"
            for k, text in zip(SAMPLE_SEEDS, self.samples, strict=True)
        )
        notes = "".join(f"\n\n{note}" for note in self.notes)
        return (
            "\n".join(lines)
            + notes
            + "".join(f"\n\n{table.markdown()}" for table in self.tables)
            + f"\n\nSamples at temperature {SAMPLE_TEMPERATURE}, unpicked:\n\n{samples}"
        )

    def page(self, pictures: Mapping[str, bytes]) -> str:
        """`report.html`: one file, nothing fetched. pictures: PNG by caption."""
        rows = "".join(
            f"<tr>{_cells([name, *_figures(row)], 'td')}</tr>" for name, row in self.rows.items()
        )
        images = "".join(
            f'<figure><img alt="{html.escape(caption)}" '
            f'src="data:image/png;base64,{base64.b64encode(png).decode()}">'
            f"<figcaption>{html.escape(caption)}</figcaption></figure>"
            for caption, png in pictures.items()
        )
        worst = "".join(
            f"<tr>{_cells([word, f'{nats:.1f}', str(count)], 'td')}</tr>"
            for word, nats, count in self.worst
        )
        tables = "\n".join(table.page() for table in self.tables)
        samples = "".join(
            f"<blockquote>{html.escape(text)}<footer>seed {k}</footer></blockquote>"
            for k, text in zip(SAMPLE_SEEDS, self.samples, strict=True)
        )
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in self.notes)
        commands = html.escape("\n".join(self.commands))
        return _PAGE.format(
            name=html.escape(self.name),
            temperature=SAMPLE_TEMPERATURE,
            facts=html.escape(self.facts),
            rows=rows,
            tables=tables,
            notes=notes,
            images=images,
            worst=worst,
            samples=samples,
            commands=commands,
        )


def _figures(row: Mapping[str, float]) -> list[str]:
    """A row's figures as they are shown; empty where there is none."""
    return [
        "" if (cell := row.get(key)) is None else f"{cell:,.{digits}f}"
        for key, digits in _FIGURES.items()
    ]


def _cells(values: Sequence[str], tag: str) -> str:
    return "".join(f"<{tag}>{html.escape(value)}</{tag}>" for value in values)


def _one_line(text: str) -> str:
    return " / ".join(line for line in text.split("\n") if line)


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>{name}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem }}
body {{ margin: 2rem auto; padding: 0 1rem; color-scheme: light dark }}
table {{ display: block; overflow-x: auto }}
td, th {{ padding: .2rem .8rem; text-align: right }}
td:first-child, th:first-child {{ text-align: left }}
img {{ max-width: 100% }} figure {{ margin: 1rem 0 }}
blockquote {{ white-space: pre-wrap; border-left: 3px solid #999 }}
blockquote {{ padding-left: 1rem; margin: 1rem 0 }}
footer, figcaption {{ color: #666; font-size: .9em }} pre {{ background: #8882; padding: 1rem }}
pre {{ overflow-x: auto }}
</style></head><body>
<h1>{name}</h1>
<p>{facts}</p>
<table><tr><th>on the validation text</th><th>bits a byte</th><th>word perplexity</th>
<th>token perplexity</th></tr>{rows}</table>
{notes}
{tables}
{images}
<h2>Samples, unpicked, at temperature {temperature}</h2>
{samples}
<h2>Hardest words</h2>
<p>By the nats that all pieces of the word cost, on average.</p>
<table><tr><th>word</th><th>nats</th><th>times</th></tr>{worst}</table>
<h2>Next</h2>
<pre>{commands}</pre>
</body></html>
"""
