// The sampling controls: what they mean, where they stand, and what they say in a request.

import { el } from "./dom.js";

const CONTROLS = [
  ["temperature", { min: 0, max: 2, step: 0.05, neutral: 1, hint: "0 always takes the likeliest" }],
  ["top_p", { min: 0.05, max: 1, step: 0.01, neutral: 1, hint: "only the likeliest, to this mass" }],
  ["top_k", { min: 0, max: 200, step: 1, neutral: 0, hint: "only so many; 0: all" }],
  ["min_p", { min: 0, max: 0.5, step: 0.01, neutral: 0, hint: "at least this share of the likeliest" }],
  ["repetition_penalty", { min: 1, max: 2, step: 0.05, neutral: 1, hint: "against saying it again" }],
];

export class Sampling {
  /**
   * @param {Element} place @param {string} limit the field's name for the most tokens
   * @param {number} most its first value
   */
  constructor(place, limit, most) {
    this.inputs = new Map();
    this.switches = new Map();
    const controls = [...CONTROLS, [limit, { min: 1, max: 400, step: 1, neutral: null, start: most, hint: "length at most, in tokens" }]];
    this.settings = new Map(controls);
    place.append(...controls.map(([name, setting]) => this.#slider(name, setting)));
    this.seed = el("input", { type: "number", min: 0, step: 1, placeholder: "drawn", inputmode: "numeric" });
    place.append(el("label", { class: "slider" }, el("span", { class: "name" }, "seed"), this.seed));
  }

  /** A box for a field that is true or left out. */
  addSwitch(place, name, label) {
    const input = el("input", { type: "checkbox" });
    place.append(el("label", { class: "check" }, input, label));
    this.switches.set(name, input);
    return input;
  }

  #slider(name, { min, max, step, neutral, start, hint }) {
    const value = start ?? neutral;
    const range = el("input", { type: "range", min, max, step, value });
    const shown = el("output", {}, String(value));
    range.addEventListener("input", () => (shown.textContent = range.value));
    this.inputs.set(name, { range, shown });
    return el(
      "label",
      { class: "slider", title: hint },
      el("span", { class: "name" }, name.replaceAll("_", " ")),
      shown,
      range,
    );
  }

  /** Stand where the checkpoint wants to be sampled. */
  takeDefaults(defaults = {}) {
    for (const [name, { range, shown }] of this.inputs) {
      if (this.settings.get(name).start) continue;
      range.value = defaults?.[name] ?? this.settings.get(name).neutral;
      shown.textContent = range.value;
    }
  }

  /** The fields of a request. Neutral ones are said, too: a checkpoint has defaults of its own. */
  fields(defaults = {}) {
    const fields = {};
    for (const [name, { range }] of this.inputs) {
      const value = Number(range.value);
      const isNeutral = value === this.settings.get(name).neutral;
      if (!isNeutral || (defaults && name in defaults)) fields[name] = value;
    }
    for (const [name, input] of this.switches) if (input.checked) fields[name] = true;
    if (this.seed.value !== "") fields.seed = Math.trunc(Number(this.seed.value));
    return fields;
  }
}
