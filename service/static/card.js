// The card beside a piece that is looked at: its probability, rank and what was likelier.

import { el } from "./dom.js";
import { ask } from "./api.js";
import { bits, figure, isControl, oneIn, part, percent, tokenText, visible, whole } from "./numbers.js";

const STAY_MS = 220; // time to walk from the piece to its card
const ALTERNATIVES = 6;
const RANKED_WORDS = 30; // words searched for; the rank of one beyond them is not known
const GAP = 6;

export class Card {
  #timer = 0;
  #abort = null;
  #piece = null;

  /** @param {(piece, text: string) => void} take called with an alternative that was clicked */
  constructor(take) {
    this.take = take;
    this.element = el("div", { class: "card", role: "group", hidden: true });
    document.body.append(this.element);
    this.element.addEventListener("pointerenter", () => clearTimeout(this.#timer));
    this.element.addEventListener("pointerleave", () => this.leave());
    addEventListener("keydown", (event) => event.key === "Escape" && this.#dismiss());
    addEventListener("pointerdown", (event) => {
      const isInside = this.element.contains(event.target) || event.target.closest?.(".piece");
      if (!isInside) this.close();
    });
    addEventListener("resize", () => this.close());
  }

  /**
   * Open for `piece`. `history` gives the details: see `detailsOf`.
   * @param {boolean} isChosen clicked: the card stays until it is left on purpose
   */
  async open(piece, anchor, isChosen, history) {
    clearTimeout(this.#timer);
    this.isChosen = isChosen;
    if (this.#piece === piece && !this.element.hidden) {
      if (isChosen) this.#enter();
      return;
    }
    this.#abort?.abort();
    this.#abort = new AbortController();
    this.#piece = piece;
    this.anchor?.classList.remove("looked-at");
    this.anchor = anchor;
    anchor.classList.add("looked-at");
    this.element.replaceChildren(...head(piece), el("div", { class: "likelier", "aria-busy": "true" }));
    this.element.hidden = false;
    this.#place();
    try {
      const details = await detailsOf(piece, history, this.#abort.signal);
      this.element.replaceChildren(...head(piece, details), this.#likelier(piece, details));
      this.#place();
      if (this.isChosen) this.#enter();
    } catch (error) {
      if (error.name === "AbortError") return;
      this.element.querySelector(".likelier").replaceChildren(el("p", { class: "hint" }, error.message));
    }
  }

  #enter() {
    this.element.querySelector("button:enabled")?.focus({ preventScroll: true });
  }

  /** The pointer went: close, unless it comes to the card or the card was asked for by a click. */
  leave() {
    clearTimeout(this.#timer);
    if (!this.isChosen) this.#timer = setTimeout(() => this.close(), STAY_MS);
  }

  close() {
    clearTimeout(this.#timer);
    this.#abort?.abort();
    this.element.hidden = true;
    this.anchor?.classList.remove("looked-at");
    this.#piece = this.anchor = null;
  }

  #dismiss() {
    if (this.element.hidden) return;
    const anchor = this.anchor;
    const hadFocus = this.element.contains(document.activeElement);
    this.close();
    if (hadFocus) anchor?.focus();
  }

  #likelier(piece, { alternatives, unit }) {
    const most = Math.max(...alternatives.map((item) => item.probability));
    const rows = alternatives.map((item) => {
      const bar = el("i", { class: "amount" });
      bar.style.width = `${Math.max(1, (100 * item.probability) / most)}%`;
      const name = el("span", { class: "name" }, shownText(item));
      const share = el("span", { class: "share" }, percent(item.probability));
      const isOwn = item.text === piece.text || (item.isEnd && piece.isEnd);
      const settings = { class: "row", type: "button", "aria-current": isOwn ? "true" : null };
      settings.disabled = item.isFixed || isOwn;
      const row = el("button", settings, name, bar, share);
      row.addEventListener("click", () => this.take(piece, item.text));
      return row;
    });
    return el("div", { class: "likelier" }, el("h3", {}, `Likeliest ${unit} here`), ...rows);
  }

  /** Under the piece, or above it where there is no room; a sheet at the bottom on a phone. */
  #place() {
    const { style } = this.element;
    if (matchMedia("(max-width: 40rem)").matches) {
      style.left = style.top = "";
      return;
    }
    const at = this.anchor.getBoundingClientRect();
    const { offsetWidth: width, offsetHeight: height } = this.element;
    const below = at.bottom + GAP;
    const isRoom = below + height < innerHeight || at.top < innerHeight - at.bottom;
    style.top = `${scrollY + (isRoom ? below : at.top - GAP - height)}px`;
    style.left = `${Math.max(8, Math.min(at.left - 12, document.documentElement.clientWidth - width - 8))}px`;
  }
}

function head(piece, details = null) {
  const name = el("strong", {}, shownText(piece));
  if (piece.logprob === null) return [name, el("p", { class: "hint" }, "The first piece has no probability.")];
  const probability = Math.exp(piece.logprob);
  const title = el("header", {}, name, el("span", {}, oneIn(probability)));
  const facts = [
    ["probability", percent(probability)],
    ["surprise", `${figure(bits(piece.logprob), 1)} bits`],
    ["rank", details ? details.rank : "…"],
    ["likelier, together", details ? details.cumulative : "…"],
  ];
  const rows = facts.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]);
  return [title, el("dl", {}, ...rows)];
}

/** A word as it is; of a token its space is shown, too. */
function shownText({ text, id, isEnd }) {
  if (isEnd) return "end of text";
  return id === undefined ? text.trim() || visible(text) : visible(text);
}

/**
 * Rank, cumulative mass and alternatives of a piece.
 *
 * Of a token all are exact, from the whole distribution after the very tokens before it. Of a word
 * they are those of a search over words.
 * @param {object} history `model`, `text`, and for tokens `ids`: the tokens before the piece
 */
async function detailsOf(piece, history, signal) {
  return history.ids ? ofToken(piece, history, signal) : ofWord(piece, history, signal);
}

async function ofToken(piece, { model, ids }, signal) {
  const body = { model, context: ids, top_k: ALTERNATIVES, full: true };
  const { top, logprobs } = await ask("v1/next-token", body, { signal });
  const own = logprobs[piece.id];
  const before = logprobs.filter((logprob) => logprob !== null && logprob > own);
  return {
    unit: "tokens",
    rank: `${whole(before.length + 1)} of ${whole(logprobs.length)}`,
    cumulative: percent(before.reduce((sum, logprob) => sum + Math.exp(logprob), 0)),
    alternatives: top.map(({ id, token, logprob }) => ({
      id,
      text: tokenText(token),
      probability: Math.exp(logprob),
      isEnd: token === "</s>",
      isFixed: isControl(token),
    })),
  };
}

async function ofWord(piece, { model, text }, signal) {
  const body = { model, context: part(text, 0, piece.start), top_k: RANKED_WORDS };
  const { top, found_mass } = await ask("v1/next-word", body, { signal });
  const place = top.findIndex(({ word }) => word === piece.text.trim());
  const before = place < 0 ? top : top.slice(0, place);
  const mass = before.reduce((sum, { logprob }) => sum + Math.exp(logprob), 0);
  const isUnknown = place < 0;
  return {
    unit: "words",
    rank: isUnknown ? `below the first ${top.length}` : String(place + 1),
    cumulative: isUnknown ? `at least ${percent(Math.min(mass, found_mass))}` : percent(mass),
    alternatives: top.slice(0, ALTERNATIVES).map(({ word, logprob }) => ({
      text: piece.text.match(/^\s*/)[0] + word,
      probability: Math.exp(logprob),
    })),
  };
}
