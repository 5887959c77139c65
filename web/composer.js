/* The message box and the pictures that wait to be sent with it. */

import { places } from "./conversation.js";
import { newId, tab } from "./store.js";
import { say } from "./text.js";

const element = (id) => document.getElementById(id);
let pending = [];
let example = null;      /* the text and pictures of an example that was chosen */
let tell = () => {};
let greatest = Infinity; /* pictures that the server takes */

const isPicture = (file) => file.type.startsWith("image/") || /\.(tiff?|p[nbgp]m|bmp|webp|avif|gif)$/i.test(file.name ?? "");

/* A picture as turns have it; its address is made once. */
export function pictureOf(blob, name, id = newId()) {
  return { id, name, blob, url: URL.createObjectURL(blob) };
}

export function setGreatest(n) { if (Number.isInteger(n) && n > 0) greatest = n; }

export function addFiles(files) {
  const given = [...files], pictures = given.filter(isPicture);
  const other = given.find((file) => !isPicture(file));
  if (pending.length + pictures.length > greatest) tell(say("tooMany", greatest));
  else if (other) tell(say("notPicture", other.name));
  else tell("");
  pending.push(...pictures.slice(0, Math.max(0, greatest - pending.length)).map((file) => pictureOf(file, file.name || say("picture"))));
  draw();
}

/* ---- thumbnails ---- */

function move(i, by) {
  const [picture] = pending.splice(i, 1);
  pending.splice(i + by, 0, picture);
  draw();
  element("pending").children[i + by].querySelectorAll("button")[by < 0 ? 0 : 1].focus();
}

function small(label, text, disabled, action) {
  const button = document.createElement("button");
  Object.assign(button, { type: "button", textContent: text, disabled, title: label });
  button.setAttribute("aria-label", label);
  button.addEventListener("click", action);
  return button;
}

function where(i) {
  const { front } = places(element("message").value, pending.length);
  return i < front ? say("inFront") : say("at", i - front + 1);
}

export function thumbnail(picture, number, caption) {
  const item = document.createElement("li");
  const image = document.createElement("img");
  image.alt = `${say("picture")} ${number}: ${picture.name}`;
  image.addEventListener("error", () => {
    const name = document.createElement("span");
    Object.assign(name, { className: "no-preview", textContent: picture.name });
    image.replaceWith(name);
  });
  image.src = picture.url;
  const count = document.createElement("span");
  Object.assign(count, { className: "number", textContent: number });
  item.append(image, count);
  if (caption) {
    const text = document.createElement("span");
    Object.assign(text, { className: "place", textContent: caption });
    item.append(text);
  }
  return item;
}

function draw() {
  element("pending").replaceChildren(...pending.map((picture, i) => {
    const item = thumbnail(picture, i + 1, where(i));
    const tools = document.createElement("span");
    tools.className = "moves";
    tools.append(
      small(`${say("earlier")} ${i + 1}`, "‹", i === 0, () => move(i, -1)),
      small(`${say("later")} ${i + 1}`, "›", i === pending.length - 1, () => move(i, 1)),
      small(`${say("removePicture")} ${i + 1}`, "×", false, () => {
        pending.splice(i, 1);
        draw();
        element("message").focus();
      }));
    item.append(tools);
    return item;
  }));
  element("insert-image").disabled = pending.length === 0;
}

function drawPlaces() {
  [...element("pending").querySelectorAll(".place")].forEach((text, i) => { text.textContent = where(i); });
}

/* ---- the text ---- */

function changed() {
  tab.set("draft", element("message").value);
  drawPlaces();
}

function insert(before, after = "") {
  const box = element("message");
  const [from, to] = [box.selectionStart, box.selectionEnd];
  const inside = box.value.slice(from, to);
  box.setRangeText(before + inside + after, from, to, "end");
  if (after && !inside) box.selectionStart = box.selectionEnd = from + before.length;
  box.focus();
  changed();
}

/* The token that asks for boxes stands in front of the text; a second press takes it away. */
function toggleGrounding() {
  const box = element("message"), token = "<|grounding|>";
  box.value = box.value.startsWith(token) ? box.value.slice(token.length) : token + box.value;
  box.focus();
  changed();
}

const idsOf = (pictures) => pictures.map(({ id }) => id).join();

const holdsExample = () => example?.text === element("message").value && example.ids === idsOf(pending);

/* Fills the box; with `isExample` it counts as an example as long as nobody changes it. */
export function set(text, pictures, isExample = false) {
  element("message").value = text;
  pending = [...pictures];
  example = isExample ? { text, ids: idsOf(pictures) } : null;
  changed();
  draw();
}

/* What is in the box: {text, pictures, isExample}. */
export const current = () => ({ text: element("message").value, pictures: [...pending], isExample: holdsExample() });

/* The same, and an empty box; null (and a word about it) when there is nothing to send. */
export function take() {
  const taken = current(), { text } = taken;
  if (!text.trim() && !pending.length) {
    tell(say("empty"));
    element("message").focus();
    return null;
  }
  tell(places(text, pending.length).surplus ? say("surplus") : "");
  set("", []);
  return taken;
}

export function redraw() { draw(); }

function listenForPictures() {
  element("files").addEventListener("change", (event) => {
    addFiles(event.target.files);
    event.target.value = "";
    element("message").focus();
  });
  document.addEventListener("paste", (event) => {
    const files = [...event.clipboardData.files];
    if (!files.length) return;
    event.preventDefault();
    addFiles(files);
  });
  let depth = 0; /* enters and leaves of the elements that a drag passes over */
  const show = (by) => { depth = Math.max(0, depth + by); element("drop").hidden = depth === 0; };
  const carriesFiles = (event) => [...event.dataTransfer.types].includes("Files");
  document.addEventListener("dragenter", (event) => { if (carriesFiles(event)) { event.preventDefault(); show(1); } });
  document.addEventListener("dragleave", (event) => { if (carriesFiles(event)) show(-1); });
  document.addEventListener("dragover", (event) => { if (carriesFiles(event)) event.preventDefault(); });
  document.addEventListener("drop", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    show(-depth);
    addFiles(event.dataTransfer.files);
    element("message").focus();
  });
}

export function start(onSend, notice) {
  tell = notice;
  element("message").value = tab.get("draft") ?? "";
  element("message").addEventListener("input", changed);
  element("message").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    element("composer").requestSubmit();
  });
  element("composer").addEventListener("submit", (event) => { event.preventDefault(); onSend(); });
  element("insert-ref").addEventListener("click", () => insert("<|ref|>", "<|/ref|>"));
  element("insert-image").addEventListener("click", () => insert("<image>\n"));
  element("insert-grounding").addEventListener("click", toggleGrounding);
  listenForPictures();
  draw();
}

