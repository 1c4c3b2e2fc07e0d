// The way to the service: relative to the page, so that it works under any path prefix.

const BASE = new URL(".", document.baseURI);
const KEY = "lstm-serve.key";

/** What the service, or the network, answered instead of an answer. */
export class Failure extends Error {
  /**
   * @param {number} status HTTP status; 0 where there was no answer at all
   * @param {string|null} code the service's word for programs
   * @param {number} retryAfter seconds
   */
  constructor(message, { status = 0, code = null, retryAfter = 1 } = {}) {
    super(message);
    Object.assign(this, { status, code, retryAfter });
  }

  /** The same request may succeed a little later. */
  get isBusy() {
    return this.status === 429 || this.status === 503;
  }
}

export const address = (path) => new URL(path, BASE).href;
export const hasKey = () => sessionStorage.getItem(KEY) !== null;

/** Asks the person for a key; set by the page. Gives null where there is none to be had. */
let askForKey = async () => null;
export const setKeyPrompt = (prompt) => (askForKey = prompt);

let asked = null; // one question at a time, however many requests were refused

/** The JSON that `path` answers; `body` makes it a POST. */
export async function ask(path, body, { signal } = {}) {
  const response = await send(path, body, signal);
  return response.json();
}

/** The JSON of each event of a stream, as it comes. */
export async function* stream(path, body, { signal } = {}) {
  const response = await send(path, { ...body, stream: true }, signal);
  for await (const line of lines(response.body)) {
    if (!line.startsWith("data: ")) continue;
    const data = line.slice("data: ".length);
    if (data === "[DONE]") return;
    const event = JSON.parse(data);
    signal?.throwIfAborted(); // what was read before that is still on its way here
    if (event.error) throw new Failure(event.error.message, { status: 200, ...event.error });
    yield event;
  }
}

async function send(path, body, signal) {
  const key = sessionStorage.getItem(KEY);
  const response = await reach(path, body, key, signal);
  if (response.ok) return response;
  const failure = await asFailure(response);
  if (failure.status !== 401) throw failure;
  await newKey(key, failure);
  return send(path, body, signal);
}

async function reach(path, body, key, signal) {
  const headers = key === null ? {} : { authorization: `Bearer ${key}` };
  const settings = { headers, signal, cache: "no-store" };
  if (body !== undefined) {
    headers["content-type"] = "application/json";
    Object.assign(settings, { method: "POST", body: JSON.stringify(body) });
  }
  try {
    return await fetch(address(path), settings);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure("The server cannot be reached. Is it still running?");
  }
}

/** Have another key than `refused` in the session, or fail as the server did. */
async function newKey(refused, failure) {
  if (sessionStorage.getItem(KEY) !== refused) return; // somebody was quicker
  asked ??= askForKey(refused !== null).finally(() => (asked = null));
  const key = await asked;
  if (key === null) throw failure;
  sessionStorage.setItem(KEY, key);
}

async function asFailure(response) {
  const retryAfter = Number(response.headers.get("retry-after")) || 1;
  const settings = { status: response.status, retryAfter };
  try {
    const { error } = await response.json();
    return new Failure(error.message, { ...settings, code: error.code });
  } catch {
    return new Failure(`The server answered ${response.status} ${response.statusText}`, settings);
  }
}

async function* lines(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      const parts = (rest + value).split("\n");
      rest = parts.pop();
      yield* parts;
    }
  } finally {
    reader.cancel().catch(() => {}); // whoever stops listening stops the work
  }
}
