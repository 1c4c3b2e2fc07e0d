// N-best lists: reading them, counting their errors, and the formula that orders them.

/**
 * @typedef {object} Hypothesis
 * @property {string} text
 * @property {number|null} score the recogniser's own
 * @property {Object<string, number>} scores further ones by name
 *
 * @typedef {object} List
 * @property {string} id
 * @property {string|null} reference what was said
 * @property {Hypothesis[]} hypotheses
 */

/**
 * Lists from what was pasted: lines, JSON lines, or a request or list of utterances as JSON.
 * @returns {List[]}
 * @throws {Error} naming the line or the list
 */
export function readLists(text) {
  const lists = /^\s*[[{]/.test(text) ? readJson(text) : readLines(text);
  if (!lists.some((list) => list.hypotheses.length)) throw new Error("There is no hypothesis in this.");
  return lists;
}

function readJson(text) {
  let values;
  try {
    const value = JSON.parse(text);
    values = value.utterances ?? (Array.isArray(value) ? value : [value]);
  } catch {
    const lines = text.split("\n").map((line, place) => [line, place + 1]);
    values = lines.filter(([line]) => line.trim()).map(([line, number]) => parseLine(line, number));
  }
  return values.map(asList);
}

function parseLine(line, number) {
  try {
    return JSON.parse(line);
  } catch (error) {
    throw new Error(`Line ${number} is no JSON: ${error.message}`);
  }
}

function asList(value, place) {
  const hypotheses = value?.hypotheses ?? value?.hyps;
  const id = String(value?.id ?? value?.utt ?? `list ${place + 1}`);
  if (!Array.isArray(hypotheses)) throw new Error(`${id}: "hypotheses" is missing.`);
  return { id, reference: value.ref ?? value.reference ?? null, hypotheses: hypotheses.map((item) => asHypothesis(item, id)) };
}

function asHypothesis(item, id) {
  if (typeof item === "string") return { text: item, score: null, scores: {} };
  if (typeof item?.text !== "string") throw new Error(`${id}: a hypothesis has no "text".`);
  const scores = item.scores ?? ("am" in item && "lm" in item ? { lm: item.lm } : {});
  return { text: item.text, score: item.score ?? item.am ?? null, scores };
}

function readLines(text) {
  const lists = [];
  let list = null;
  for (const [place, line] of text.split("\n").entries()) {
    if (!line.trim()) {
      list = null;
      continue;
    }
    if (!list) lists.push((list = { id: `list ${lists.length + 1}`, reference: null, hypotheses: [] }));
    const [, reference] = line.match(/^=\s*(.*)$/) ?? [];
    if (reference !== undefined) list.reference = reference.trim();
    else list.hypotheses.push(lineHypothesis(line, place + 1));
  }
  return lists;
}

function lineHypothesis(line, number) {
  const [first, ...rest] = line.split("\t");
  if (!rest.length) return { text: line.trim(), score: null, scores: {} };
  const score = Number(first);
  if (!first.trim() || !Number.isFinite(score)) throw new Error(`Line ${number}: "${first}" before the tab is no number.`);
  return { text: rest.join(" ").trim(), score, scores: {} };
}

/** The names of the further scores, those of the first hypothesis. */
export const scoreNames = (lists) =>
  Object.keys(lists.find((list) => list.hypotheses.length)?.hypotheses[0].scores ?? {});

/**
 * What each part adds to a hypothesis' total, in the order of the formula.
 * @param {object} weights `lm`, `bonus`, `normalize`, and `scores`: by name
 */
export function parts(hypothesis, { lm, bonus, normalize, scores }) {
  const { lm_logprob: logprob, num_tokens: tokens, num_words: words } = hypothesis;
  const length = { none: 1, tokens: Math.max(1, tokens), words: words + 1 }[normalize];
  return [
    hypothesis.score ?? 0,
    ...Object.entries(scores).map(([name, weight]) => weight * (hypothesis.scores[name] ?? 0)),
    (lm * logprob) / length,
    bonus * words,
  ];
}

/** The hypotheses best first, with `parts`, `total` and `index`; equal totals keep their order. */
export function ranked(hypotheses, weights) {
  const rows = hypotheses.map((hypothesis, index) => {
    const added = parts(hypothesis, weights);
    return { ...hypothesis, index, parts: added, total: added.reduce((sum, part) => sum + part, 0) };
  });
  return rows.toSorted((a, b) => b.total - a.total || a.index - b.index);
}

const words = (text) => text.split(/\s+/).filter(Boolean);

/**
 * Word errors by edit distance: how many, and the places in the hypothesis that are wrong.
 * @returns {{count: number, wrong: Set<number>, length: number}} length: words of the reference
 */
export function errors(reference, hypothesis) {
  const [said, heard] = [words(reference), words(hypothesis)];
  const table = [Array.from({ length: heard.length + 1 }, (_, place) => place)];
  for (let i = 1; i <= said.length; i++) {
    table.push([i]);
    for (let j = 1; j <= heard.length; j++) {
      const change = table[i - 1][j - 1] + Number(said[i - 1] !== heard[j - 1]);
      table[i].push(Math.min(change, table[i - 1][j] + 1, table[i][j - 1] + 1));
    }
  }
  const wrong = new Set();
  for (let [i, j] = [said.length, heard.length]; j > 0; ) {
    const isSame = i > 0 && said[i - 1] === heard[j - 1];
    if (i > 0 && table[i][j] === table[i - 1][j - 1] + Number(!isSame)) {
      if (!isSame) wrong.add(j - 1);
      i--, j--;
    } else if (i > 0 && table[i][j] === table[i - 1][j] + 1) i--;
    else wrong.add(--j);
  }
  return { count: table[said.length][heard.length], wrong, length: said.length };
}

/** The list with the `errors` of each hypothesis, counted once; null where nobody knows what was said. */
export const counted = (list) => ({
  ...list,
  hypotheses: list.hypotheses.map((hypothesis) => ({
    ...hypothesis,
    errors: list.reference === null ? null : errors(list.reference, hypothesis.text),
  })),
});

/**
 * Word error rate in percent over all lists with a reference; null where none has one.
 * @param {(list: List) => Hypothesis|undefined} chosen the counted hypothesis that stands for a list
 */
export function errorRate(lists, chosen) {
  let [count, length] = [0, 0];
  for (const list of lists) {
    if (list.reference === null) continue;
    const found = chosen(list)?.errors ?? errors(list.reference, "");
    count += found.count;
    length += found.length;
  }
  return length ? (100 * count) / length : null;
}

/** The hypothesis of a counted list with the fewest errors: what no order can beat. */
export const leastErrors = ({ hypotheses }) => hypotheses.toSorted((a, b) => a.errors.count - b.errors.count)[0];
