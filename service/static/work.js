// One piece of work at a time for a part of a view: loading, failed and overloaded are told there.

import { el } from "./dom.js";
import { Failure } from "./api.js";

const SHOW_AFTER_MS = 200; // what is quicker does not flicker
const MOST_RETRIES = 5;

export class Work {
  #abort = null;
  #timer = 0;

  /**
   * @param {Element} place where notices go; nothing else may live in it
   * @param {Element} region what is marked busy meanwhile
   */
  constructor(place, region = place) {
    this.place = place;
    this.region = region;
  }

  get isRunning() {
    return this.#abort !== null;
  }

  /**
   * Run `task(signal)`, ending what runs here. An overloaded service is asked again after the
   * time that it names. Gives whether the task came to its end.
   */
  async run(task, retries = MOST_RETRIES) {
    this.stop();
    const abort = new AbortController();
    this.#abort = abort;
    const slow = setTimeout(() => this.#loading(), SHOW_AFTER_MS);
    try {
      await task(abort.signal);
      return true;
    } catch (error) {
      if (!abort.signal.aborted) this.#failed(error, task, retries);
      return false;
    } finally {
      clearTimeout(slow);
      if (this.#abort === abort) {
        this.#abort = null;
        this.region.removeAttribute("aria-busy");
      }
    }
  }

  /** End what runs and take notices away. */
  stop() {
    this.#abort?.abort();
    this.#abort = null;
    clearInterval(this.#timer);
    this.region.removeAttribute("aria-busy");
    this.place.replaceChildren();
  }

  #loading() {
    if (this.#abort) this.region.setAttribute("aria-busy", "true");
  }

  #failed(error, task, retries) {
    if (!(error instanceof Failure)) console.error(error);
    if (error.isBusy && retries > 0) {
      this.#busy(error, task, retries);
      return;
    }
    const again = el("button", { type: "button", class: "quiet" }, "Try again");
    again.addEventListener("click", () => this.run(task));
    const message = error instanceof Failure ? error.message : `The page failed: ${error.message}`;
    this.place.replaceChildren(notice("bad", sentence(message), again));
  }

  #busy(error, task, retries) {
    let left = Math.max(1, Math.ceil(error.retryAfter));
    const count = el("span", { class: "count" });
    const now = el("button", { type: "button", class: "quiet" }, "Try now");
    const again = () => {
      clearInterval(this.#timer);
      this.run(task, retries - 1);
    };
    const tick = () => {
      count.textContent = ` Trying again in ${left} s.`;
      if (left-- <= 0) again();
    };
    now.addEventListener("click", again);
    this.place.replaceChildren(notice("busy", el("span", {}, sentence(error.message), count), now));
    tick();
    this.#timer = setInterval(tick, 1000);
  }
}

/** @param {"bad"|"busy"|"plain"} kind */
export function notice(kind, ...children) {
  const role = kind === "bad" ? "alert" : "status";
  return el("div", { class: "notice", data: { kind }, role }, ...children);
}

const sentence = (message) =>
  message[0].toUpperCase() + message.slice(1) + (/[.!?]$/.test(message) ? "" : ".");
