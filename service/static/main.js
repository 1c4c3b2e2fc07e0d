// The frame around the views: which one is open, which model, which colours, which key.

import { byId, el } from "./dom.js";
import { ask, setKeyPrompt } from "./api.js";
import { Work } from "./work.js";
import { whole } from "./numbers.js";
import { openChat } from "./chat.js";
import { openRescore } from "./rescore.js";
import { openSurprise } from "./surprise.js";
import { openWrite } from "./write.js";

const VIEWS = ["surprise", "write", "rescore", "chat"];
const TITLES = { surprise: "Surprise", write: "Write", rescore: "Rescore", chat: "Chat" };
const COLOURS = [
  ["light dark", "◐", "as the system"],
  ["light", "○", "light"],
  ["dark", "●", "dark"],
];
const COLOUR_KEY = "lstm-serve.colours";

/** What every view knows: the models, which is chosen, and when that changes. */
const page = {
  models: [],
  listeners: [],
  get model() {
    return this.models.find((model) => model.id === byId("model").value) ?? null;
  },
  /** What requests name; nothing until the models are known, and then the default answers. */
  get modelName() {
    return this.model?.id;
  },
  /** Call `listener` now where models are known, and whenever another one is chosen. */
  onModel(listener) {
    this.listeners.push(listener);
    if (this.model) listener(this.model);
  },
};

const openers = { surprise: openSurprise, write: openWrite, rescore: openRescore, chat: openChat };
const opened = new Map();

function show(name, { focus = false } = {}) {
  for (const view of VIEWS) {
    const tab = byId(`tab-${view}`);
    tab.setAttribute("aria-selected", String(view === name));
    tab.tabIndex = view === name ? 0 : -1;
    byId(view).hidden = view !== name;
  }
  document.title = `${TITLES[name]} · lstm-serve`;
  if (!opened.has(name)) opened.set(name, openers[name](page));
  opened.get(name)?.shown?.();
  if (focus) byId(`tab-${name}`).focus();
}

function viewOfAddress() {
  const name = location.hash.slice(1).split(/[=&?]/)[0];
  return VIEWS.includes(name) ? name : VIEWS[0];
}

function prepareTabs() {
  for (const view of VIEWS) {
    byId(`tab-${view}`).addEventListener("click", () => {
      history.pushState(null, "", `#${view}`);
      show(view);
    });
  }
  document.querySelector("[role=tablist]").addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const place = VIEWS.findIndex((view) => `tab-${view}` === document.activeElement.id);
    const next = VIEWS[(place + step + VIEWS.length) % VIEWS.length];
    history.replaceState(null, "", `#${next}`);
    show(next, { focus: true });
    event.preventDefault();
  });
  addEventListener("hashchange", () => show(viewOfAddress()));
  addEventListener("popstate", () => show(viewOfAddress()));
}

function prepareColours() {
  const button = byId("theme");
  let chosen = Number(localStorage.getItem(COLOUR_KEY)) % COLOURS.length || 0;
  const apply = () => {
    const [scheme, sign, name] = COLOURS[chosen];
    document.documentElement.style.colorScheme = scheme;
    button.textContent = sign;
    button.title = `Colours: ${name}`;
    button.setAttribute("aria-label", button.title);
  };
  button.addEventListener("click", () => {
    chosen = (chosen + 1) % COLOURS.length;
    localStorage.setItem(COLOUR_KEY, String(chosen));
    apply();
  });
  apply();
}

function prepareKey() {
  const dialog = byId("key-dialog");
  setKeyPrompt(
    (isWrong) =>
      new Promise((resolve) => {
        byId("key-title").textContent = isWrong
          ? "The server does not know this key"
          : "This server asks for a key";
        byId("key").value = "";
        const done = (key) => {
          byId("key-form").onsubmit = byId("key-cancel").onclick = dialog.oncancel = null;
          dialog.close();
          resolve(key);
        };
        byId("key-form").onsubmit = (event) => {
          event.preventDefault();
          done(byId("key").value.trim());
        };
        byId("key-cancel").onclick = () => done(null);
        dialog.oncancel = () => done(null);
        dialog.showModal();
      }),
  );
}

async function loadModels(signal) {
  const { data } = await ask("v1/models", undefined, { signal });
  page.models = data.toSorted((a, b) => Number(b.is_default) - Number(a.is_default));
  const select = byId("model");
  select.replaceChildren(...page.models.map((model) => el("option", { value: model.id }, model.id)));
  select.disabled = page.models.length < 2;
  chosen();
}

function chosen() {
  const { id, architecture, vocab_size, precision, device } = page.model;
  const size = architecture.num_parameters / 1e6;
  byId("about-model").textContent =
    `${id}: ${size.toFixed(1)}M parameters, ${whole(vocab_size)} tokens` +
    (precision ? `, ${precision} on ${device}` : "");
  for (const listener of page.listeners) listener(page.model);
}

prepareColours();
prepareKey();
prepareTabs();
byId("model").addEventListener("change", chosen);
show(viewOfAddress());
new Work(byId("banner")).run(loadModels);
