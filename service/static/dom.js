// Making and filling elements. Texts are always set as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

/** The element of the page with this id. */
export const byId = (id) => document.getElementById(id);

/**
 * A new element.
 * @param {string} tag
 * @param {object} settings `class`, `data` (an object), `on` (listeners by event); everything else
 *   is an attribute, left out where null, undefined or false.
 * @param {...(Node|string|null)} children nulls are skipped
 */
export function el(tag, settings = {}, ...children) {
  return fill(document.createElement(tag), settings, children);
}

/** The same for a drawing. */
export function svg(tag, settings = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), settings, children);
}

function fill(element, { data = {}, on = {}, ...attributes }, children) {
  Object.assign(element.dataset, data);
  for (const [event, listener] of Object.entries(on)) element.addEventListener(event, listener);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** Grow a text box with its text, up to the limit that its style sets. */
export function growing(box) {
  const grow = () => {
    box.style.height = "auto";
    box.style.height = `${box.scrollHeight + 2}px`;
  };
  box.addEventListener("input", grow);
  addEventListener("resize", grow);
  return grow;
}

/** Call `act` once `pause` ms have passed without another call. */
export function debounced(act, pause) {
  let timer = 0;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => act(...values), pause);
  };
}

/** Call `act` once what is there now has been drawn. */
export const afterFrame = (act) => requestAnimationFrame(() => setTimeout(act));

/** Copy, and say so on the button for a moment. */
export async function copyFrom(button, text) {
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "The browser refused";
  }
  setTimeout(() => (button.textContent = label), 1500);
}
