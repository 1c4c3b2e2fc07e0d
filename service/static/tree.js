// A tree from left to right, drawn by the browser's own layout: lists in lists.

import { el } from "./dom.js";

/**
 * @template T
 * @param {T[]} roots
 * @param {(node: T) => T[]} childrenOf
 * @param {(node: T) => Node} labelOf
 */
export function drawTree(roots, childrenOf, labelOf) {
  return el("ul", { class: "tree" }, ...roots.map((node) => branch(node, childrenOf, labelOf)));
}

function branch(node, childrenOf, labelOf) {
  const children = childrenOf(node);
  return el(
    "li",
    {},
    el("div", { class: "label" }, labelOf(node)),
    children.length ? drawTree(children, childrenOf, labelOf) : null,
  );
}
