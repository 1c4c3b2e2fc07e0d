// How figures are shown, and which colour stands for which surprise.

export const LEVELS = 10;
const BITS_A_LEVEL = 1.6; // the strongest colour from 16 bits on: one in 65,536
const DIFFERENCE_LEVELS = 5;

/** Bits of surprise from a natural logarithm of a probability. */
export const bits = (logprob) => -logprob / Math.LN2;

/** 0 (expected) to 10: the colour of a piece. A piece without a probability has none. */
export const level = (logprob) =>
  logprob === null ? 0 : Math.min(LEVELS, Math.floor(bits(logprob) / BITS_A_LEVEL));

/** -5 to 5: the colour of a difference, one level a bit. */
export const differenceLevel = (difference) =>
  Math.max(-DIFFERENCE_LEVELS, Math.min(DIFFERENCE_LEVELS, Math.round(difference)));

export function percent(probability) {
  const value = 100 * probability;
  if (value >= 99.95 && value < 100) return ">99.9%";
  if (value >= 10) return `${value.toFixed(0)}%`;
  if (value >= 0.1) return `${value.toFixed(1)}%`;
  return value >= 0.001 ? `${value.toFixed(3)}%` : "<0.001%";
}

/** "1 in 14": what a probability means to most of us. */
export function oneIn(probability) {
  const ratio = 1 / probability;
  if (ratio < 9.5) return `1 in ${ratio.toFixed(1)}`;
  const digits = Math.max(0, Math.floor(Math.log10(ratio)) - 1);
  return `1 in ${whole(Math.round(ratio / 10 ** digits) * 10 ** digits)}`;
}

export const whole = (number) => Math.round(number).toLocaleString("en");

/** Three or four digits that count, a true minus sign. */
export function figure(number, digits = 2) {
  if (number === null || Number.isNaN(number)) return "—";
  const shown = Math.abs(number) >= 1000 ? whole(number) : number.toFixed(digits);
  return shown.replace("-", "−");
}

export const signed = (number, digits = 2) =>
  number > 0 ? `+${figure(number, digits)}` : figure(number, digits);

/** A part of a text by the service's offsets, which count characters: JavaScript counts halves of some. */
export const part = (text, start, end) => Array.from(text).slice(start, end).join("");

/** A token's name as the text it stands for; one of the bytes beyond ASCII stands for no text. */
export const tokenText = (name) =>
  name
    .replace(/^<0x([0-7][0-9A-F])>$/, (_, code) => String.fromCharCode(parseInt(code, 16)))
    .replaceAll("▁", " ");

/** A short text with its space shown. */
export const visible = (text) =>
  text.replaceAll("\n", "↵").replace(/^ /, "␣").replace(/(?<=.) $/, "␣") || "·";

/** Control tokens and parts of characters are no text: nobody can go on with one. */
export const isControl = (name) => /^<(\||s>|\/s>|0x[89A-F])/.test(name);
