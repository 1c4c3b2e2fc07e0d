// The tree that a list is computed as: what hypotheses share at their beginning is there once.

import { el } from "./dom.js";
import { level } from "./numbers.js";
import { drawTree } from "./tree.js";

/**
 * @param {{text: string, id: number, logprob: number}[][]} sequences tokens of each hypothesis
 * @returns {Element}
 */
export function prefixTree(sequences) {
  const root = { tokens: [], children: [] };
  for (const tokens of sequences) insert(root, tokens);
  const label = (node) =>
    el(
      "span",
      { class: "run" },
      ...node.tokens.map(({ text, logprob, isEnd }) =>
        el("span", { class: isEnd ? "piece end" : "piece", data: { level: level(logprob) } }, isEnd ? "end" : text),
      ),
    );
  return drawTree(root.children, (node) => node.children, label);
}

/** A node holds a run of tokens that nothing branches off from. */
function insert(node, tokens) {
  const child = node.children.find(({ tokens: [first] }) => first.id === tokens[0].id);
  if (!child) {
    node.children.push({ tokens, children: [] });
    return;
  }
  let shared = 0;
  while (shared < child.tokens.length && child.tokens[shared].id === tokens[shared]?.id) shared++;
  if (shared < child.tokens.length) {
    const rest = { tokens: child.tokens.slice(shared), children: child.children };
    Object.assign(child, { tokens: child.tokens.slice(0, shared), children: [rest] });
  }
  if (shared < tokens.length) insert(child, tokens.slice(shared));
}
