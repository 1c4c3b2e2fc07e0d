// A text in pieces, each coloured; one of them may be looked at, by mouse, finger or keyboard.

import { el } from "./dom.js";
import { bits, differenceLevel, figure, level, signed, visible } from "./numbers.js";

const LOOK_AFTER_MS = 70; // a pointer on its way elsewhere does not open anything

/**
 * @typedef {object} Piece
 * @property {string} text with the space before it, as it stands in the text
 * @property {number|null} logprob
 * @property {number} start @property {number} end characters of the text
 * @property {boolean} isEnd the end of the sequence: no text
 */

/**
 * @param {Piece[]} pieces
 * @param {object} settings `look(piece, element, isChosen)` is called for the piece looked at;
 *   `leave()` when the pointer goes; `differences`: bits by piece, to colour by these instead;
 *   `label`: the text's name
 */
export function colouredText(pieces, { look, leave, differences = null, label }) {
  const pane = el("div", { class: "coloured", role: "group", "aria-label": label });
  const elements = pieces.map((piece, place) => {
    const element = pieceElement(piece, differences ? differences[place] : undefined);
    element.dataset.place = place;
    return element;
  });
  pieces.forEach((piece, place) => {
    pane.append(spaceBefore(piece), elements[place]);
    if (!piece.text.trim() && piece.text.includes("\n")) pane.append("\n");
  });
  if (elements.length) elements[0].tabIndex = 0;
  listen(pane, pieces, elements, { look, leave });
  return pane;
}

/** The space before a piece is not coloured; a piece that is nothing but space is. */
const spaceBefore = ({ text }) => (text.trim() ? text.match(/^\s*/)[0] : "");

function pieceElement(piece, difference) {
  const text = piece.isEnd ? "end" : piece.text.slice(spaceBefore(piece).length).replaceAll("\n", "↵");
  const settings = { class: "piece", tabindex: "-1", role: "button", data: {} };
  if (piece.isEnd) settings.class += " end";
  if (!text) settings.class += " empty";
  const surprise = piece.logprob === null ? "no probability" : `${figure(bits(piece.logprob), 1)} bits`;
  if (difference === undefined) {
    settings.data.level = level(piece.logprob);
    settings["aria-label"] = `${visible(piece.text)}: ${surprise}`;
  } else {
    settings.data.difference = difference === null ? "none" : differenceLevel(difference);
    const told = difference === null ? "not in the other" : `${signed(difference, 1)} bits`;
    settings["aria-label"] = `${visible(piece.text)}: ${told}`;
  }
  return el("span", settings, text || "·");
}

function listen(pane, pieces, elements, { look, leave }) {
  let timer = 0;
  const placeOf = (event) => {
    const element = event.target.closest(".piece");
    return element && pane.contains(element) ? Number(element.dataset.place) : null;
  };
  const visit = (place, isChosen) => {
    for (const element of elements) element.tabIndex = -1;
    elements[place].tabIndex = 0;
    look(pieces[place], elements[place], isChosen);
  };
  pane.addEventListener("pointerover", (event) => {
    clearTimeout(timer);
    const place = placeOf(event);
    if (place === null || event.pointerType === "touch") return;
    timer = setTimeout(() => visit(place, false), LOOK_AFTER_MS);
  });
  pane.addEventListener("pointerleave", () => {
    clearTimeout(timer);
    leave();
  });
  pane.addEventListener("click", (event) => {
    clearTimeout(timer);
    const place = placeOf(event);
    if (place !== null) visit(place, true);
  });
  pane.addEventListener("keydown", (event) => {
    const place = placeOf(event);
    if (place === null) return;
    const last = elements.length - 1;
    const goals = { ArrowRight: place + 1, ArrowLeft: place - 1, Home: 0, End: last };
    if (event.key === "Enter" || event.key === " ") visit(place, true);
    else if (event.key in goals) {
      const next = Math.max(0, Math.min(last, goals[event.key]));
      elements[next].focus();
      visit(next, false);
    } else return;
    event.preventDefault();
  });
}

/** What the colours stand for. */
export function legend(isDifference) {
  if (isDifference) {
    const steps = [-5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5];
    return strip("difference", steps, ["5 bits less", "than in the other", "5 bits more surprising"]);
  }
  const steps = [...Array(11).keys()];
  return strip("level", steps, ["expected", "1 in 256", "1 in 65,536 or rarer"]);
}

function strip(name, steps, labels) {
  return el(
    "div",
    { class: "legend", "aria-hidden": "true" },
    el("div", { class: "steps" }, ...steps.map((step) => el("i", { data: { [name]: step } }))),
    el("div", { class: "labels" }, ...labels.map((text) => el("span", {}, text))),
  );
}
