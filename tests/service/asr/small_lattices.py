"""Lattices small enough for every path to be walked."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import strategies as st

from service.asr.lattice import Final, Lattice, Link, build_lattice


@st.composite
def lattices(draw: st.DrawFn) -> Lattice:
    size = draw(st.integers(2, 6))
    score = st.integers(-40, 0).map(lambda value: value / 4)
    words = st.sampled_from(["", "a", "b", "c"])
    links = [
        Link(start, end, draw(words), draw(score), draw(score))
        for start in range(size)
        for end in range(start + 1, size)
        for _ in range(draw(st.integers(0, 2)))
    ]
    finals = {size - 1: Final()} | {
        node: Final(draw(score), draw(score)) for node in draw(st.sets(st.integers(0, size - 1)))
    }
    return build_lattice(id="u", start=0, finals=finals, links=links)


def all_paths(lattice: Lattice) -> Iterator[tuple[tuple[str, ...], float, float]]:
    """(words, acoustic, lm) of every path."""
    outgoing = lattice.outgoing()

    def walk(
        node: int, words: tuple[str, ...], acoustic: float, lm: float
    ) -> Iterator[tuple[tuple[str, ...], float, float]]:
        if (final := lattice.finals.get(node)) is not None:
            yield words, acoustic + final.acoustic, lm + final.lm
        for link in outgoing[node]:
            longer = (*words, link.word) if link.word else words
            yield from walk(link.end, longer, acoustic + link.acoustic, lm + link.lm)

    yield from walk(lattice.start, (), 0.0, 0.0)
