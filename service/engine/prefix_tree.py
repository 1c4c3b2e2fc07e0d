"""Sequences -> one tree of their common prefixes, so that each shared token is computed once.

The tree is compressed: a node holds the run of tokens up to the next place where sequences part,
end, or have a state taken. Plain Python; knows neither kernel nor numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class Node:
    """A run of tokens.

    depth: tokens before this node. prompts: sequences that end with it. taken_by: sequences whose
    state is taken after its last token. score_from: first depth at which its tokens are scored.
    """

    tokens: list[int]
    depth: int = 0
    parent: Node | None = None
    children: dict[int, Node] = field(default_factory=dict)
    prompts: list[int] = field(default_factory=list)
    taken_by: list[int] = field(default_factory=list)
    score_from: int = 1 << 62

    @property
    def end(self) -> int:
        return self.depth + len(self.tokens)

    @property
    def is_trunk(self) -> bool:
        """Whether no sequences part or end before its end: what a later request may share."""
        parent = self.parent
        while parent is not None:
            if len(parent.children) + len(parent.prompts) > 1:
                return False
            parent = parent.parent
        return True

    def split(self, size: int) -> None:
        """Cut the run after `size` tokens; what hung on its end moves to the new lower part."""
        assert 0 < size < len(self.tokens)
        lower = Node(
            self.tokens[size:],
            depth=self.depth + size,
            parent=self,
            children=self.children,
            prompts=self.prompts,
            taken_by=self.taken_by,
            score_from=self.score_from,
        )
        for child in lower.children.values():
            child.parent = lower
        self.tokens = self.tokens[:size]
        self.children, self.prompts, self.taken_by = {lower.tokens[0]: lower}, [], []


class PrefixTree:
    """Tree of `prompts`. The root is an empty node that stands for the common start.

    score_from: per prompt, first position that is scored; None: nothing is.
    state_at: per prompt, after how many tokens its state is taken; None: never.
    """

    def __init__(
        self,
        prompts: Sequence[Sequence[int]],
        score_from: Sequence[int] | None = None,
        state_at: Sequence[int | None] = (),
    ) -> None:
        self.root = Node([])
        for index, prompt in enumerate(prompts):
            first = 1 << 62 if score_from is None else score_from[index]
            # What hangs on a node's end moves down when the node is split later.
            self._walk(prompt, len(prompt), first).prompts.append(index)
            if state_at and (position := state_at[index]) is not None:
                self._walk(prompt, position, 1 << 62).taken_by.append(index)
        ends = {index: node for node in (self.root, *self) for index in node.prompts}
        self.leaves = [ends[index] for index in range(len(prompts))]  # the node a prompt ends with

    def _walk(self, prompt: Sequence[int], size: int, score_from: int) -> Node:
        """The node that ends after `size` tokens of `prompt`, made by growing and splitting."""
        node, position = self.root, 0
        while position < size:
            child = node.children.get(prompt[position])
            if child is None:
                child = Node(list(prompt[position:size]), depth=position, parent=node)
                child.score_from = score_from
                node.children[prompt[position]] = child
                return child
            common = _common(child.tokens, prompt, position, size)
            if common < len(child.tokens):
                child.split(common)
            child.score_from = min(child.score_from, score_from)
            node, position = child, position + common
        return node

    def path(self, prompt: int) -> list[Node]:
        """Nodes from the top to the end of a prompt, without the empty root."""
        nodes, node = [], self.leaves[prompt]
        while node is not self.root:
            nodes.append(node)
            assert node.parent is not None
            node = node.parent
        return nodes[::-1]

    def __iter__(self) -> Iterator[Node]:
        """All nodes but the root, parents first."""
        stack = list(self.root.children.values())
        while stack:
            node = stack.pop()
            yield node
            stack += node.children.values()

    @property
    def num_tokens(self) -> int:
        """Tokens to compute, shared ones counted once."""
        return sum(len(node.tokens) for node in self)


def _common(tokens: Sequence[int], prompt: Sequence[int], position: int, size: int) -> int:
    """Length of the common run of `tokens` and `prompt[position:size]`."""
    longest = min(len(tokens), size - position)
    if list(tokens[:longest]) == list(prompt[position : position + longest]):
        return longest
    return next(k for k in range(longest) if tokens[k] != prompt[position + k])
