// Which words of two texts are the same, and how much more surprising they are in one than the other.

import { bits } from "./numbers.js";

const MOST_CELLS = 4_000_000; // of the table below: two texts of 2,000 words

/**
 * Pair equal words in order, as many as possible (longest common subsequence).
 * @param {string[]} first
 * @param {string[]} second
 * @returns {[number, number][]} pairs of places
 */
export function align(first, second) {
  const shared = commonStart(first, second);
  const pairs = Array.from({ length: shared }, (_, place) => [place, place]);
  const rows = first.length - shared;
  const columns = second.length - shared;
  if ((rows + 1) * (columns + 1) > MOST_CELLS) return pairs;

  const width = columns + 1;
  const longest = new Uint32Array((rows + 1) * width); // of what is left from (row, column) on
  for (let row = rows - 1; row >= 0; row--) {
    for (let column = columns - 1; column >= 0; column--) {
      const isSame = first[shared + row] === second[shared + column];
      longest[row * width + column] = isSame
        ? longest[(row + 1) * width + column + 1] + 1
        : Math.max(longest[(row + 1) * width + column], longest[row * width + column + 1]);
    }
  }
  for (let row = 0, column = 0; row < rows && column < columns; ) {
    if (first[shared + row] === second[shared + column]) {
      pairs.push([shared + row++, shared + column++]);
    } else if (longest[(row + 1) * width + column] >= longest[row * width + column + 1]) {
      row++;
    } else {
      column++;
    }
  }
  return pairs;
}

function commonStart(first, second) {
  const most = Math.min(first.length, second.length);
  let place = 0;
  while (place < most && first[place] === second[place]) place++;
  return place;
}

/**
 * For each piece of each side how many bits more surprising it is than its partner; null where it
 * has none.
 */
export function differences(first, second) {
  const sides = [first.map(() => null), second.map(() => null)];
  const text = (piece) => piece.text.trim();
  for (const [i, j] of align(first.map(text), second.map(text))) {
    if (first[i].logprob === null || second[j].logprob === null) continue;
    const difference = bits(first[i].logprob) - bits(second[j].logprob);
    sides[0][i] = difference;
    sides[1][j] = -difference;
  }
  return sides;
}
