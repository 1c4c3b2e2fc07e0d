// Where a text has been: every state of it is a node, and going back and on moves between them.

/**
 * @typedef {object} Branch
 * @property {string} text the whole text at this place
 * @property {"typed"|"word"|"continuation"} kind
 * @property {Branch|null} parent
 * @property {Branch[]} children
 */

export class Branches {
  constructor(text = "") {
    this.root = { text, kind: "typed", parent: null, children: [] };
    this.current = this.root;
    this.next = new Map(); // for each node the child that was gone to last
  }

  get isEmpty() {
    return this.root.children.length === 0;
  }

  /** A new child of `parent`; it is not gone to. */
  add(text, kind, parent = this.current) {
    const node = { text, kind, parent, children: [] };
    parent.children.push(node);
    return node;
  }

  /** Forget a node that came to nothing. */
  remove(node) {
    node.parent.children = node.parent.children.filter((child) => child !== node);
    if (this.next.get(node.parent) === node) this.next.delete(node.parent);
    if (this.current === node) this.current = node.parent;
  }

  goTo(node) {
    for (let at = node; at.parent; at = at.parent) this.next.set(at.parent, at);
    this.current = node;
    return node;
  }

  /** Typing goes on within one node, until something else has come of its text. */
  typed(text) {
    if (text === this.current.text) return;
    const { kind, children } = this.current;
    if (kind === "typed" && !children.length) this.current.text = text;
    else this.goTo(this.add(text, "typed"));
  }

  back() {
    if (this.current.parent) this.current = this.current.parent;
  }

  forth() {
    this.current = this.next.get(this.current) ?? this.current;
  }

  get canGoBack() {
    return this.current.parent !== null;
  }

  get canGoForth() {
    return this.next.has(this.current);
  }

  /** Whether the current text came about through this node. */
  isOnPath(node) {
    for (let at = this.current; at; at = at.parent) if (at === node) return true;
    return false;
  }
}

/** What a node adds to its parent's text; all of it where the text before was changed. */
export function addition(node) {
  const before = node.parent?.text.replace(/ $/, "") ?? "";
  return node.text.startsWith(before) ? node.text.slice(before.length) : node.text;
}
