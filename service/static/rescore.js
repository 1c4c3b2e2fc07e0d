// N-best lists put into a new order: asked once, ordered anew here at every move of a weight.

import { byId, el } from "./dom.js";
import { address, ask } from "./api.js";
import { showCommand } from "./curl.js";
import { counted, errorRate, leastErrors, ranked, readLists, scoreNames } from "./nbest.js";
import { figure, tokenText, whole } from "./numbers.js";
import { prefixTree } from "./prefix_tree.js";
import { notice, Work } from "./work.js";

const SAMPLE = "static/sample_nbest.json";
const SHOWN_IN_COMMAND = 2; // hypotheses: the command is an example, not an export

export function openRescore(page) {
  const work = new Work(byId("rescore-notice"), byId("rescore-result"));
  const treeWork = new Work(el("div", {}));
  const sliders = new Map();
  let lists = []; // `isScored` with what the service found about each hypothesis
  let open = 0;
  let tree = null; // of the list that is open
  let nodes = "";

  const model = () => page.modelName;
  const value = (name) => Number(sliders.get(name).value);
  const weights = () => ({
    lm: value("language model"),
    bonus: value("each word"),
    normalize: byId("rescore-normalize").value,
    scores: Object.fromEntries(scoreNames(lists).map((name) => [name, value(name)])),
  });

  /** The first list is seen as soon as it can be; the others, and what is said of all, follow it. */
  async function load(read, start) {
    await work.run(async (signal) => {
      const given = (await read(signal)).map(counted);
      const first = await rescored(given.slice(0, 1), signal);
      lists = [...first, ...given.slice(1)];
      open = 0;
      tree = null;
      makeSliders(start);
      draw();
      drawTree();
      if (isComplete()) return;
      lists = await rescored(given, signal);
      draw();
    });
  }

  const isComplete = () => lists.every((list) => list.isScored);

  /** The lists with `lm_logprob`, `num_tokens` and `num_words` of each hypothesis, as they stood. */
  async function rescored(given, signal) {
    const body = request(given, Object.fromEntries(scoreNames(given).map((name) => [name, 1])));
    const { utterances, usage } = await ask("v1/rescore", body, { signal });
    nodes = `${whole(usage.prompt_tokens)} tokens, ${whole(usage.tree_nodes)} of them computed: what a list shares is computed once.`;
    return given.map((list, place) => {
      const inOrder = utterances[place].hypotheses.toSorted((a, b) => a.index - b.index);
      const hypotheses = list.hypotheses.map((item, i) => ({ ...item, ...inOrder[i], scores: item.scores }));
      return { ...list, hypotheses, isScored: true };
    });
  }

  function request(given, scoreWeights, rest = {}) {
    const utterances = given.map(({ id, hypotheses }) => ({
      id,
      hypotheses: hypotheses.map(({ text, score, scores }) => ({
        text,
        ...(score === null || score === undefined ? {} : { score }),
        ...(Object.keys(scores).length ? { scores } : {}),
      })),
    }));
    return { model: model(), ...rest, weights: scoreWeights, utterances };
  }

  function makeSliders(start) {
    sliders.clear();
    const names = ["language model", ...scoreNames(lists), "each word"];
    const bonusRange = { min: -20, max: 10, step: 0.1 };
    byId("rescore-sliders").replaceChildren(
      ...names.map((name) => {
        const range = name === "each word" ? bonusRange : { min: 0, max: 20, step: 0.05 };
        const input = el("input", { type: "range", ...range, value: start[name] ?? 1 });
        const shown = el("output", {}, figure(Number(input.value)));
        input.addEventListener("input", () => {
          shown.textContent = figure(Number(input.value));
          draw();
        });
        sliders.set(name, input);
        const title = el("span", { class: "name" }, el("i", { class: "swatch", data: { part: partNames().indexOf(name) } }), name);
        return el("label", { class: "slider" }, title, shown, input);
      }),
    );
  }

  const partNames = () => ["recogniser", ...scoreNames(lists), "language model", "each word"];

  function draw() {
    if (!lists.length) return;
    const now = weights();
    const orders = lists.map(({ hypotheses, isScored }) => (isScored ? ranked(hypotheses, now) : hypotheses));
    replaceResult(totals(orders), el("div", { class: "lists" }, chooser(orders), ranking(orders[open], now)));
    const { lm, bonus, normalize, scores } = now;
    const shortened = [{ ...lists[open], hypotheses: lists[open].hypotheses.slice(0, SHOWN_IN_COMMAND) }];
    const rest = { lm_weight: lm, length_bonus: bonus, ...(normalize === "none" ? {} : { normalize }) };
    showCommand(byId("rescore-curl"), "v1/rescore", request(shortened, scores, rest));
  }

  /** Draw anew; who chooses lists by keyboard, or far down, goes on doing so. */
  function replaceResult(...children) {
    const result = byId("rescore-result");
    const before = result.querySelector(".chooser");
    const hadFocus = before?.contains(document.activeElement);
    const scrolled = before?.scrollTop ?? 0;
    result.replaceChildren(...children);
    result.querySelector(".chooser").scrollTop = scrolled;
    if (hadFocus) result.querySelector("[aria-pressed=true]").focus();
  }

  function totals(orders) {
    const best = new Map(lists.map((list, place) => [list, orders[place][0]]));
    const rate = (chosen) => errorRate(lists, chosen);
    const shown = (percent) => (percent === null ? "—" : `${figure(percent, 1)}%`);
    const [before, least] = [rate((list) => list.hypotheses[0]), rate(leastErrors)];
    const now = isComplete() ? shown(rate((list) => best.get(list))) : "…"; // a part of the lists would have a wrong one
    const rates = [
      ["word error rate now", now],
      ["as the recogniser had it", shown(before)],
      ["best that the lists allow", shown(least)],
    ];
    const cells = rates.map(([name, value]) => el("div", { class: "total" }, el("b", {}, value), el("span", {}, name)));
    const told = before === null ? "No list says what was said (a line that begins with =): no error rates. " : "";
    return el("div", { class: "totals" }, ...cells, el("p", { class: "hint" }, told + (isComplete() ? nodes : "")));
  }

  function chooser(orders) {
    const buttons = lists.map((list, place) => {
      const text = orders[place][0]?.text ?? "(an empty list)";
      const settings = { type: "button", "aria-pressed": String(place === open), disabled: !list.isScored };
      const button = el("button", settings, el("span", {}, text));
      if (list.reference !== null && list.isScored) {
        const [before, after] = [list.hypotheses[0], orders[place][0]].map((item) => item?.errors.count ?? 0);
        const change = before === after ? String(after) : `${before}→${after}`;
        const kind = after < before ? "better" : after > before ? "worse" : "same";
        button.append(el("small", { data: { kind }, title: "word errors" }, change));
      }
      button.addEventListener("click", () => {
        open = place;
        tree = null;
        draw();
        drawTree();
      });
      return button;
    });
    return el("nav", { class: "chooser", "aria-label": "Lists" }, ...buttons);
  }

  /** One row a hypothesis; each part of its bar is what that score takes off against the list's best. */
  function ranking(order, now) {
    const { reference } = lists[open];
    const best = partNames().map((_, part) => Math.max(...order.map((row) => row.parts[part])));
    const longest = Math.max(...order.map((row) => best.reduce((sum, top, part) => sum + top - row.parts[part], 0)), 1e-9);
    const rows = order.map((row, rank) => {
      const bar = el("div", { class: "parts", role: "img", "aria-label": `total ${figure(row.total)}` });
      row.parts.forEach((part, place) => {
        const segment = el("i", { data: { part: place }, title: `${partNames()[place]} ${figure(part)}` });
        segment.style.width = `${(100 * (best[place] - part)) / longest}%`;
        bar.append(segment);
      });
      const moved = row.index - rank;
      const arrow = moved ? `${moved > 0 ? "▲" : "▼"}${Math.abs(moved)}` : "";
      return el(
        "li",
        {},
        el("span", { class: "moved", data: { kind: moved > 0 ? "up" : "down" } }, arrow),
        el("p", {}, ...marked(row)),
        el("span", { class: "sum" }, figure(row.total, 1)),
        bar,
      );
    });
    const said = reference === null ? null : el("p", { class: "said" }, el("span", {}, "said"), reference);
    const title = `${lists[open].id}: ${order.length} hypotheses`;
    return el("div", { class: "ranking" }, el("h2", {}, title), said, el("ol", {}, ...rows), keyOf(now), treePlace());
  }

  function keyOf() {
    const names = partNames();
    return el("p", { class: "key" }, ...names.map((name, part) => el("span", {}, el("i", { class: "swatch", data: { part } }), name)));
  }

  function treePlace() {
    const scroll = el("div", { class: "scroll", tabindex: "0", "aria-label": "Tree of shared beginnings" });
    if (tree) scroll.append(tree);
    return el("div", { class: "shared", id: "rescore-tree" }, el("h2", {}, "Computed as one tree"), scroll);
  }

  /** Ask for the tokens of the list that is open, and draw what they share. */
  async function drawTree() {
    const { hypotheses } = lists[open];
    if (!hypotheses.length) return;
    await treeWork.run(async (signal) => {
      const body = { model: model(), texts: hypotheses.map(({ text }) => text), detail: "tokens" };
      const { data } = await ask("v1/score", body, { signal });
      tree = prefixTree(data.map(({ tokens }) => tokens.map(asNode)));
      byId("rescore-tree")?.querySelector(".scroll").replaceChildren(tree);
    });
  }

  async function sample(signal) {
    const response = await fetch(address(SAMPLE), { signal });
    return (await response.json()).map(({ ref, ...list }) => ({ ...list, reference: ref }));
  }

  const loadSample = () => load(sample, { "language model": 4.75, ngram: 4.75, "each word": -0.4 });
  byId("rescore-sample").addEventListener("click", loadSample);
  byId("rescore-paste").addEventListener("click", () => {
    const panel = byId("rescore-input");
    panel.hidden = !panel.hidden;
    byId("rescore-paste").setAttribute("aria-expanded", String(!panel.hidden));
    if (!panel.hidden) byId("rescore-text").focus();
  });
  byId("rescore-go").addEventListener("click", () => {
    let given;
    try {
      given = readLists(byId("rescore-text").value);
    } catch (error) {
      work.stop();
      byId("rescore-notice").replaceChildren(notice("bad", error.message));
      return;
    }
    load(() => given, { "language model": 1, "each word": 0 });
  });
  byId("rescore-normalize").addEventListener("change", draw);
  byId("rescore-result").append(
    el("p", { class: "empty" }, "No lists yet. The sample has sixteen: sentences read by a speech synthesiser, as a real recogniser heard them."),
  );
  page.onModel(() => lists.length && load(() => lists.map(asGiven), currentWeights()));
  const currentWeights = () => Object.fromEntries([...sliders].map(([name, input]) => [name, input.value]));
  return {};
}

const asGiven = ({ id, reference, hypotheses }) => ({
  id,
  reference,
  hypotheses: hypotheses.map(({ text, score, scores }) => ({ text, score, scores })),
});

const asNode = ({ id, token, logprob }) => ({ id, logprob, text: tokenText(token), isEnd: token === "</s>" });

function marked({ text, errors }) {
  const wrong = errors?.wrong ?? new Set();
  return text.split(/\s+/).flatMap((word, place) => [place ? " " : "", wrong.has(place) ? el("u", {}, word) : word]);
}
