// Small charts: one figure, turn by turn.

import { el, svg } from "./dom.js";

const [WIDTH, HEIGHT] = [240, 40];
const SHOWN = 24; // turns

/**
 * @param {string} title @param {number[]} values one a turn
 * @param {string} unit behind the last value
 * @param {(value: number) => string} show
 */
export function chart(title, values, unit, show) {
  const last = values.at(-1);
  return el(
    "figure",
    { class: "chart" },
    el("figcaption", {}, el("span", {}, title), el("b", {}, last === undefined ? "—" : `${show(last)} ${unit}`)),
    bars(values.slice(-SHOWN)),
  );
}

function bars(values) {
  const most = Math.max(...values, 1e-9);
  const step = WIDTH / SHOWN;
  const shapes = values.map((value, place) => {
    const height = Math.max(1.5, (HEIGHT * value) / most);
    return svg("rect", { x: place * step, y: HEIGHT - height, width: step - 2, height, rx: 1.5 });
  });
  const base = svg("line", { x1: 0, x2: WIDTH, y1: HEIGHT, y2: HEIGHT });
  return svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT + 1}`, "aria-hidden": "true" }, base, ...shapes);
}
