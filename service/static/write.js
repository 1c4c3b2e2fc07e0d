// A text that the model goes on with: word by word while one types, or a stretch at a time.

import { afterFrame, byId, debounced, el } from "./dom.js";
import { ask, stream } from "./api.js";
import { addition, Branches } from "./branches.js";
import { showCommand } from "./curl.js";
import { percent, whole } from "./numbers.js";
import { Sampling } from "./sampling.js";
import { drawTree } from "./tree.js";
import { notice, Work } from "./work.js";

const PAUSE_MS = 60; // of typing, before words are asked for
const WORDS = 6;
const LEAST = 1e-6; // probability of a word worth offering for the letters typed so far
const LEAST_SHARE = 0.02; // and against that of these letters being all of it
const START = "It was a dark night and";
const LONGEST_LABEL = 90;

export function openWrite(page) {
  const box = byId("write-text");
  const sampling = new Sampling(byId("write-sampling"), "max_tokens", 40);
  const pastEnd = sampling.addSwitch(byId("write-sampling"), "ignore_eos", "go on past the end of the text");
  const work = new Work(byId("write-notice"));
  const wordsPlace = byId("write-words");
  const wordsNotice = el("div", {});
  const wordsRow = el("div", { class: "row" });
  wordsPlace.append(wordsRow, wordsNotice);
  const lookUp = new Work(wordsNotice, wordsPlace);
  let tree = new Branches(START);
  let words = [];

  const model = () => page.modelName;
  const defaults = () => page.model?.sampling_defaults ?? {};

  function show() {
    box.value = tree.current.text;
    showSteps();
    drawBranches();
    lookUpSoon();
  }

  function showSteps() {
    byId("write-undo").disabled = !tree.canGoBack;
    byId("write-redo").disabled = !tree.canGoForth;
  }

  function drawBranches() {
    byId("write-tree-panel").hidden = tree.isEmpty;
    const label = (node) => {
      const text = addition(node).trim();
      const shown = text.length > LONGEST_LABEL ? `${text.slice(0, LONGEST_LABEL)}…` : text;
      const button = el("button", { type: "button", class: "branch", data: { kind: node.kind } }, shown);
      if (tree.isOnPath(node)) button.classList.add("on-path");
      if (node === tree.current) button.setAttribute("aria-current", "true");
      button.addEventListener("click", () => go(node));
      return button;
    };
    byId("write-tree").replaceChildren(drawTree([tree.root], (node) => node.children, label));
    byId("write-tree").querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  function go(node) {
    stop();
    tree.goTo(node);
    show();
    box.focus();
  }

  function stop() {
    work.stop();
    showRunning(false);
  }

  function showRunning(isRunning) {
    const button = byId("write-go");
    button.textContent = isRunning ? "Stop" : "Continue";
    button.classList.toggle("running", isRunning);
  }

  async function goOn() {
    tree.typed(box.value);
    const parent = tree.current;
    const n = Number(byId("write-branches").value);
    // The space behind the last word belongs to the next one, as the model has learnt it.
    const body = { model: model(), prompt: parent.text.replace(/ $/, ""), ...sampling.fields(defaults()) };
    if (n > 1) body.n = n;
    const done = work.run((signal) => receive(parent, n, body, signal));
    // Drawn while the request is on its way.
    showRunning(true);
    forgetWords();
    showCommand(byId("write-curl"), "v1/completions", body, { streamed: true });
    const isDone = await done;
    if (!work.isRunning) showRunning(false);
    if (isDone) show();
  }

  /** Let the branches grow as their texts come. */
  async function receive(parent, n, body, signal) {
    const grown = new Map();
    const started = performance.now();
    const request = { ...body, stream_options: { include_usage: true } };
    for await (const event of stream("v1/completions", request, { signal })) {
      for (const { index, text } of event.choices) {
        const isFirst = !grown.has(index);
        if (isFirst) grown.set(index, tree.add(body.prompt, "continuation", parent));
        const node = grown.get(index);
        node.text += text;
        if (n === 1) {
          tree.goTo(node);
          box.value = node.text;
          box.scrollTop = box.scrollHeight;
        }
        if (isFirst) afterFrame(() => (showSteps(), drawBranches())); // the word is seen first
      }
      if (event.usage) tell(event, performance.now() - started);
      if (n > 1 || event.usage) drawBranches();
    }
    for (const node of grown.values()) if (node.text === body.prompt) tree.remove(node);
    if (!parent.children.some((node) => [...grown.values()].includes(node))) tellOfEnd();
    if (n > 1) byId("write-tree-panel").scrollIntoView({ block: "nearest" });
  }

  function tell({ usage, seed }, took) {
    const rate = whole((1000 * usage.completion_tokens) / took);
    const told = `${whole(usage.completion_tokens)} tokens in ${whole(took)} ms, ${rate} a second. Seed ${seed}.`;
    byId("write-notice").replaceChildren(el("p", { class: "hint" }, told));
  }

  function tellOfEnd() {
    const on = el("button", { type: "button", class: "quiet" }, "Go on past the end");
    on.addEventListener("click", () => {
      pastEnd.checked = true;
      goOn();
    });
    byId("write-notice").replaceChildren(notice("plain", "For the model the text ends here.", on));
  }

  async function findWords(signal) {
    const text = box.value;
    const found = await nextWords(model(), text, signal);
    if (box.value !== text) return;
    words = found;
    const most = Math.max(...words.map(({ probability }) => probability));
    wordsRow.replaceChildren(
      ...words.map(({ word, probability }, place) => {
        const bar = el("i", { class: "amount" });
        bar.style.width = `${(100 * probability) / most}%`;
        const button = el("button", { type: "button", class: "word", tabindex: "-1" }, bar, el("span", {}, word), el("small", {}, percent(probability)));
        if (place === 0) button.append(el("kbd", {}, "Tab"));
        button.addEventListener("click", () => accept(word));
        return button;
      }),
    );
  }

  function accept(word) {
    stop();
    tree.typed(box.value);
    const { context, letters } = split(box.value);
    const before = word.startsWith(letters) ? context : `${box.value} `;
    tree.goTo(tree.add(`${before}${word} `, "word"));
    show();
    box.focus();
    box.setSelectionRange(box.value.length, box.value.length);
  }

  const lookUpSoon = debounced(() => !work.isRunning && page.model && lookUp.run(findWords), PAUSE_MS);

  box.addEventListener("input", () => {
    stop();
    words = [];
    tree.typed(box.value);
    showSteps();
    if (!tree.isEmpty) drawBranches();
    lookUpSoon();
  });
  box.addEventListener("keydown", (event) => {
    const isPlain = !event.shiftKey && !event.ctrlKey && !event.altKey && !event.metaKey;
    if (event.key === "Tab" && isPlain && words.length && !work.isRunning) accept(words[0].word);
    else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) goOn();
    else if (event.key === "Escape" && work.isRunning) stop();
    else if (event.key === "Escape") forgetWords(); // Tab leaves the box again
    else return;
    event.preventDefault();
  });

  function forgetWords() {
    lookUp.stop();
    words = [];
    wordsRow.replaceChildren();
  }

  byId("write-go").addEventListener("click", () => (work.isRunning ? stop() : goOn()));
  byId("write-undo").addEventListener("click", () => {
    stop();
    tree.typed(box.value);
    tree.back();
    show();
  });
  byId("write-redo").addEventListener("click", () => {
    stop();
    tree.forth();
    show();
  });
  page.onModel((chosen) => {
    sampling.takeDefaults(chosen.sampling_defaults);
    lookUpSoon();
  });
  if (matchMedia("(max-width: 56rem)").matches) byId("write-sampling").open = false;
  show();
  return {};
}

/** The finished words of a text, and the letters of the one that is being typed. */
function split(text) {
  const letters = text.match(/\S*$/)[0];
  return { context: text.slice(0, text.length - letters.length), letters };
}

/** The most probable next words, of those that begin with the letters typed so far. */
async function nextWords(model, text, signal) {
  const { context, letters } = split(text);
  const body = { model, context, prefix: letters, top_k: WORDS + 1 };
  const { top } = await ask("v1/next-word", body, { signal });
  const words = top.map(({ word, logprob }) => ({ word, probability: Math.exp(logprob) }));
  const asTyped = words.find(({ word }) => word === letters)?.probability ?? 0;
  const least = letters ? Math.max(LEAST, LEAST_SHARE * asTyped) : 0;
  const found = words.filter(({ word, probability }) => word !== letters && probability > least).slice(0, WORDS);
  // Where nothing likely begins so, this word is taken to be finished.
  return found.length || !letters ? found : nextWords(model, `${text} `, signal);
}
