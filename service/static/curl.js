// The command that does what the view just did.

import { copyFrom, el } from "./dom.js";
import { address, hasKey } from "./api.js";

/** Stands for a state in a body: the command takes it from the shell, where it is not 11 KB of noise. */
export const STATE = "$STATE";

/** Show `path` with `body` as a command in `place`; the fold stays as the reader left it. */
export function showCommand(place, path, body, { streamed = false } = {}) {
  const text = command(path, streamed ? { ...body, stream: true } : body, streamed);
  const shown = place.querySelector("code");
  if (shown) {
    shown.textContent = text;
    return;
  }
  const code = el("code", {}, text);
  const copy = el("button", { type: "button", class: "quiet" }, "Copy");
  copy.addEventListener("click", () => copyFrom(copy, code.textContent));
  place.replaceChildren(
    el("details", {}, el("summary", {}, "As a command"), el("div", { class: "code" }, el("pre", {}, code), copy)),
  );
}

function command(path, body, streamed) {
  const json = spaced(body).replaceAll("'", "'\\''").replace(`"state": "${STATE}"`, `"state": "'"$STATE"'"`);
  const lines = [`curl -s${streamed ? "N" : ""} ${address(path)}`];
  if (hasKey()) lines.push('-H "authorization: Bearer $LSTM_SERVE_KEY"');
  lines.push("-H 'content-type: application/json'", `-d '${json}'`);
  return lines.join(" \\\n  ");
}

/** JSON with a space behind commas and colons, as people write it. */
export function spaced(value) {
  if (Array.isArray(value)) return `[${value.map(spaced).join(", ")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const parts = Object.entries(value).filter(([, item]) => item !== undefined);
  return `{${parts.map(([key, item]) => `${JSON.stringify(key)}: ${spaced(item)}`).join(", ")}}`;
}
