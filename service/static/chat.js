// A conversation on a state token: each request sends the last state and the new turn alone.

import { byId, copyFrom, el, growing } from "./dom.js";
import { stream } from "./api.js";
import { chart } from "./chart.js";
import { showCommand, STATE } from "./curl.js";
import { figure, whole } from "./numbers.js";
import { Sampling } from "./sampling.js";
import { notice, Work } from "./work.js";

const ADDRESS = "#chat&state=";
const OPENERS = ["Hi! How are you today?", "What did you do at the weekend?", "Do you like music?"];

export function openChat(page) {
  const box = byId("chat-text");
  const grow = growing(box);
  const turns = byId("chat-turns");
  const sampling = new Sampling(byId("chat-sampling"), "max_completion_tokens", 80);
  const work = new Work(byId("chat-notice"));
  let state = null;
  let figures = newFigures();
  let owner = null; // the model whose state it is

  const model = () => page.modelName;

  function drawState() {
    byId("chat-charts").replaceChildren(
      chart("Said so far", figures.tokens, "tokens", whole),
      chart("The state", figures.sizes, "characters", whole),
      chart("First word after", figures.firsts, "ms", (value) => figure(value, 0)),
    );
    const isThere = state !== null;
    byId("chat-copy").disabled = !isThere;
    byId("chat-new").disabled = !isThere && !turns.children.length;
    const link = byId("chat-open");
    link.setAttribute("aria-disabled", String(!isThere));
    if (isThere) link.href = `${ADDRESS}${state}`;
    else link.removeAttribute("href");
  }

  const showSend = () => (byId("chat-send").disabled = box.disabled || work.isRunning);

  function addTurn(role, text = "") {
    turns.querySelector(".empty")?.remove();
    const bubble = el("p", {}, text);
    turns.append(el("li", { data: { role } }, el("span", { class: "unseen" }, `${role}: `), bubble));
    turns.scrollTop = turns.scrollHeight;
    return bubble;
  }

  async function say(text) {
    if (!text.trim() || work.isRunning) return;
    const said = addTurn("user", text);
    box.value = "";
    grow();
    const fields = sampling.fields(page.model?.sampling_defaults ?? {});
    const body = { model: model(), messages: [{ role: "user", content: text }], ...fields };
    Object.assign(body, state ? { state } : {}, { return_state: true });
    const shown = state ? { ...body, state: STATE } : body;
    const done = work.run((signal) => receive(body, signal));
    showCommand(byId("chat-curl"), "v1/chat/completions", shown, { streamed: true });
    showSend();
    const isDone = await done;
    showSend();
    if (!isDone) said.parentElement.classList.add("unsent");
    drawState();
  }

  async function receive(body, signal) {
    const started = performance.now();
    let [first, bubble] = [null, null];
    const request = { ...body, stream_options: { include_usage: true } };
    try {
      for await (const { choices, usage } of stream("v1/chat/completions", request, { signal })) {
        const [choice] = choices;
        if (choice?.delta?.content) {
          first ??= performance.now() - started;
          bubble ??= addTurn("assistant");
          bubble.textContent += choice.delta.content;
          turns.scrollTop = turns.scrollHeight;
        }
        if (choice?.state) state = choice.state;
        if (usage) figures.total += usage.total_tokens;
      }
    } catch (error) {
      bubble?.parentElement.remove(); // the state is still that of before: so is what is shown
      throw error;
    }
    if (!bubble) addTurn("assistant", "…");
    figures.tokens.push(figures.total);
    figures.sizes.push(state.length);
    figures.firsts.push(first ?? performance.now() - started);
    turns.querySelectorAll(".unsent").forEach((turn) => turn.classList.remove("unsent"));
  }

  function begin(given = null) {
    work.stop();
    state = given;
    figures = newFigures();
    turns.replaceChildren(given ? resumed() : openers());
    drawState();
  }

  const resumed = () => el("li", { class: "empty" }, "Resumed. The state remembers; this page has not seen what was said.");

  function openers() {
    const buttons = OPENERS.map((text) => {
      const button = el("button", { type: "button", class: "quiet" }, text);
      button.addEventListener("click", () => say(text));
      return button;
    });
    return el("li", { class: "empty" }, el("p", {}, "Nothing said yet. Begin with"), el("div", { class: "samples" }, ...buttons));
  }

  function resume(given) {
    const isState = /^[\w.=-]+$/.test(given);
    if (isState) {
      begin(given);
      box.focus();
    } else byId("chat-notice").replaceChildren(notice("bad", "This is no state: a state is one long word of letters, digits and . - _ ="));
    return isState;
  }

  byId("chat-form").addEventListener("submit", (event) => {
    event.preventDefault();
    say(box.value);
  });
  box.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    say(box.value);
  });
  byId("chat-copy").addEventListener("click", (event) => copyFrom(event.currentTarget, state));
  byId("chat-new").addEventListener("click", () => begin());
  byId("chat-resume").addEventListener("click", () => {
    const field = byId("chat-resume-field");
    field.hidden = !field.hidden;
    byId("chat-resume").setAttribute("aria-expanded", String(!field.hidden));
    if (!field.hidden) byId("chat-state").focus();
  });
  byId("chat-state").addEventListener("input", () => {
    if (!byId("chat-state").value.trim() || !resume(byId("chat-state").value.trim())) return;
    byId("chat-state").value = "";
    byId("chat-resume").click();
    box.focus();
  });

  page.onModel((chosen) => {
    sampling.takeDefaults(chosen.sampling_defaults);
    const canChat = Boolean(chosen.chat_template);
    box.disabled = !canChat;
    showSend();
    const size = (chosen.architecture.num_parameters / 1e6).toFixed(1);
    byId("chat-about").textContent = canChat
      ? `The server remembers nothing: the whole conversation is in a sealed state that this page holds. With ${size} million parameters ${chosen.id} is good for small talk and for seeing how states work. It knows no facts and follows no instructions.`
      : `${chosen.id} has not learnt to chat. Choose another model above.`;
    if (state && owner !== null && chosen.id !== owner) begin(); // another model cannot read it
    owner = chosen.id;
  });
  const shown = () => {
    const [, given] = location.hash.split(ADDRESS);
    if (given) {
      history.replaceState(null, "", "#chat"); // the state stays out of the history
      begin(given);
    }
    grow();
  };
  begin();
  return { shown };
}

const newFigures = () => ({ total: 0, tokens: [], sizes: [], firsts: [] });
