// Any text, coloured by how surprising each token or word of it was; two of them side by side.

import { byId, debounced, el, growing } from "./dom.js";
import { ask, stream } from "./api.js";
import { Card } from "./card.js";
import { colouredText, legend } from "./coloured.js";
import { differences } from "./align.js";
import { showCommand } from "./curl.js";
import { bits, figure, part, signed, whole } from "./numbers.js";
import { notice, Work } from "./work.js";

const PAUSE_MS = 120; // of typing, before the text is scored
const MOST_UNDOS = 50;
const MOST_DRAWN = 3000; // pieces: a browser takes seconds to lay out many more
const CONTINUATION = { max_tokens: 24, min_tokens: 4, temperature: 0.7, stop: ["\n"] };
const SAMPLES = [
  "She opened the door and saw a small grey elephant sitting on the sofa.",
  "The old man the boats.",
  "It was a bright cold day in April, and the clocks were striking thirteen.",
  "Can you recommend a good restaurant?",
];
const OTHER_SAMPLE = "She opened the door and saw a small grey cat sitting on the sofa.";

export function openSurprise(page) {
  const [text, otherText] = [byId("surprise-text"), byId("other-text")];
  const notices = el("div", { "aria-live": "polite" });
  const shown = el("div", { class: "stack" });
  byId("surprise-result").append(notices, shown);
  const work = new Work(notices, byId("surprise-result"));
  const growText = [growing(text), growing(otherText)];
  const undos = [];
  let sides = [];
  let looked = null; // the side whose piece the card is about
  const card = new Card((piece, alternative) => takeAlternative(piece, alternative));

  const choice = (name) => document.querySelector(`input[name=${name}]:checked`).value;
  const beside = () => byId("beside").value;

  /** Text and model of each side, as the controls say. */
  function wanted() {
    const model = page.modelName;
    const first = { model, text: text.value, box: text };
    if (beside() === "text") return [first, { model, text: otherText.value, box: otherText }];
    if (beside() === "model") return [first, { model: byId("other-model").value, text: text.value, box: text }];
    return [first];
  }

  async function score(signal) {
    const asked = wanted();
    const bodies = asked.map(({ model, text }) => ({ model, texts: [text], detail: "tokens" }));
    showCommand(byId("surprise-curl"), "v1/score", bodies[0]);
    if (!asked[0].text) {
      sides = [];
      card.close();
      shown.replaceChildren(el("p", { class: "empty" }, "No text yet. Type one, or take a sample above."));
      return;
    }
    const answers = await Promise.all(bodies.map((body) => ask("v1/score", body, { signal })));
    sides = asked.map((side, place) => ({ ...side, answer: answers[place].data[0] }));
    draw();
  }

  function draw() {
    card.close();
    if (!sides.length) return;
    const isWords = choice("pieces") === "words";
    const all = sides.map(({ answer, text }) => (isWords ? wordsOf : tokensOf)(answer, text));
    const pieces = all.map((side) => side.slice(0, MOST_DRAWN));
    const isCut = all.some((side) => side.length > MOST_DRAWN);
    const isDifference = sides.length === 2 && choice("colour") === "difference";
    const bySide = isDifference ? differences(...pieces) : null;
    const panes = sides.map((side, place) => {
      const title = sides.length < 2 ? null : el("h2", {}, beside() === "model" ? side.model : ["First", "Second"][place]);
      const pane = colouredText(pieces[place], {
        label: title ? title.textContent : "Coloured text",
        differences: bySide && bySide[place],
        leave: () => card.leave(),
        look: (piece, element, isChosen) => {
          const ids = isWords ? null : side.answer.tokens.slice(0, piece.place).map((token) => token.id);
          looked = side;
          card.open(piece, element, isChosen, { model: side.model, text: side.text, ids });
        },
      });
      return el("div", {}, title, pane);
    });
    shown.replaceChildren(totals(sides), el("div", { class: "columns" }, ...panes), legend(isDifference));
    if (isCut) shown.append(notice("plain", `Only the first ${whole(MOST_DRAWN)} ${choice("pieces")} are drawn; the figures are those of the whole.`));
  }

  /** Put `alternative` in a piece's place, drop what followed, and let the model go on from there. */
  async function takeAlternative(piece, alternative) {
    const { box, text: scored, model } = looked;
    remember();
    card.close();
    const before = part(scored, 0, piece.start);
    const prompt = before + (before ? alternative : alternative.trimStart());
    box.value = prompt;
    changed();
    await work.run(async (signal) => {
      const body = { model, prompt, ...CONTINUATION };
      for await (const { choices } of stream("v1/completions", body, { signal })) {
        box.value += choices[0]?.text ?? "";
        changed();
      }
      await score(signal);
    });
  }

  function remember() {
    undos.push([text.value, otherText.value]);
    if (undos.length > MOST_UNDOS) undos.shift();
    byId("surprise-undo").disabled = false;
  }

  function changed() {
    for (const grow of growText) grow();
  }

  const scoreNow = () => page.model && work.run(score);
  const scoreSoon = debounced(scoreNow, PAUSE_MS);

  for (const box of [text, otherText]) box.addEventListener("input", scoreSoon);
  byId("pieces").addEventListener("change", draw);
  byId("colour-by").addEventListener("change", draw);
  byId("beside").addEventListener("change", () => {
    byId("other-text-field").hidden = beside() !== "text";
    byId("other-model-pick").hidden = beside() !== "model";
    byId("colour-by").hidden = !beside();
    if (beside() === "text" && !otherText.value) otherText.value = text.value === SAMPLES[0] ? OTHER_SAMPLE : text.value;
    changed();
    scoreNow();
  });
  byId("other-model").addEventListener("change", scoreNow);
  byId("surprise-undo").addEventListener("click", () => {
    [text.value, otherText.value] = undos.pop();
    byId("surprise-undo").disabled = undos.length === 0;
    changed();
    scoreNow();
  });

  byId("surprise-samples").append(
    el("span", {}, "Try"),
    ...SAMPLES.map((sample) => {
      const button = el("button", { type: "button", class: "quiet" }, sample);
      button.addEventListener("click", () => {
        remember();
        text.value = sample;
        changed();
        scoreNow();
      });
      return button;
    }),
  );

  text.value = SAMPLES[0];
  page.onModel((model) => {
    const others = page.models.filter(({ id }) => id !== model.id);
    byId("other-model").replaceChildren(...others.map(({ id }) => el("option", { value: id }, id)));
    byId("beside").querySelector("[value=model]").disabled = others.length === 0;
    if (!others.length && beside() === "model") byId("beside").value = "";
    scoreNow();
  });
  return { shown: changed };
}

/** The words of an answer, each with the white space before it. */
function wordsOf({ words }, text) {
  const characters = Array.from(text); // offsets count these, not JavaScript's halves of some
  let last = 0;
  return words.map(({ word, logprob, start, end }, place) => {
    const isEnd = place === words.length - 1 && word === "</s>" && start === end;
    const piece = { text: characters.slice(last, end).join(""), logprob, start: last, end, place, isEnd };
    last = end;
    return piece;
  });
}

function tokensOf({ tokens }, text) {
  const characters = Array.from(text);
  return tokens.map(({ id, token, logprob, start, end }, place) => {
    const isEnd = token === "</s>" && start === end;
    return { id, text: characters.slice(start, end).join(""), logprob, start, end, place, isEnd };
  });
}

const FIGURES = [
  ["bits", "of surprise", ({ logprob }) => bits(logprob), 1],
  ["perplexity", "a token", ({ perplexity }) => perplexity, 1],
  ["perplexity", "a word", ({ word_perplexity: figure }) => figure, 1],
  ["bits", "a byte", ({ bits_per_byte: figure }) => figure, 2],
];

function totals(sides) {
  const first = sides[0].answer;
  const cells = FIGURES.map(([name, unit, of, digits]) => {
    const values = sides.map(({ answer }) => of(answer));
    const difference = values.length === 2 ? values[1] - values[0] : null;
    return el(
      "div",
      { class: "total" },
      el("b", {}, values.map((value) => figure(value, digits)).join("  |  ")),
      el("span", {}, `${name} ${unit}`),
      difference === null ? null : el("em", {}, `${signed(difference, digits)}`),
    );
  });
  const size = `${whole(first.num_words)} words, ${whole(first.num_tokens)} tokens, ${whole(first.num_bytes)} bytes`;
  const told = sides.length === 2 ? ratio(sides) : size;
  return el("div", { class: "totals" }, ...cells, el("p", { class: "hint" }, told));
}

function ratio([first, second]) {
  const difference = bits(second.answer.logprob) - bits(first.answer.logprob);
  if (Math.abs(difference) < 0.005) return "Both are equally probable.";
  const which = difference > 0 ? "first" : "second";
  const times = 2 ** Math.abs(difference);
  const shown = times < 1e6 ? whole(times) : `10^${Math.log10(times).toFixed(0)}`;
  const factor = times < 10 ? times.toFixed(1) : shown;
  return `The ${which} is ${factor} times as probable as the other.`;
}
