/* The dialog of kept conversations: open one, delete one. */

import { list, pictureOf, remove } from "./store.js";
import { markLanguage, say } from "./text.js";

const element = (id) => document.getElementById(id);

function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

const titleOf = (record) => record.turns.map((turn) => turn.text.replace(/<\|[^|]*\|>|<image>/g, "").trim())
  .find(Boolean)?.slice(0, 120) ?? say("untitled");

async function picture(record) {
  const id = record.turns.flatMap((turn) => turn.pictures)[0];
  const found = id && await pictureOf(id);
  if (!found) return make("span", { className: "no-picture" });
  const image = make("img", { alt: "" });
  image.addEventListener("load", () => URL.revokeObjectURL(image.src), { once: true });
  image.src = URL.createObjectURL(found.blob);
  return image;
}

async function entry(record, current, actions) {
  const title = make("span", { className: "title", textContent: titleOf(record) });
  markLanguage(title, title.textContent);
  const when = new Date(record.changed).toLocaleString(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" });
  const facts = [when, say("turns", record.turns.length), ...(record.id === current ? [say("current")] : [])].join(" · ");
  const open = make("button", { type: "button", className: "open" }, await picture(record),
    make("span", { className: "what" }, title, make("span", { className: "facts", textContent: facts })));
  open.addEventListener("click", () => actions.open(record.id));
  const away = make("button", { type: "button", className: "quiet", textContent: say("remove") });
  away.setAttribute("aria-label", `${say("remove")}: ${title.textContent}`);
  away.addEventListener("click", async () => {
    await actions.removed(record.id); /* first: an answer that is stopped is kept once more */
    await remove(record.id);
    await draw(current, actions);
    (element("conversations").querySelector("button") ?? element("history").querySelector("button.primary")).focus();
  });
  return make("li", {}, open, away);
}

async function draw(current, actions) {
  const entries = await Promise.all((await list()).filter((record) => record.turns.length)
    .map((record) => entry(record, current, actions)));
  element("conversations").replaceChildren(...(entries.length ? entries
    : [make("li", { className: "nothing", textContent: say("historyEmpty") })]));
}

/* actions: {open(id), removed(id)} */
export async function show(current, actions) {
  await draw(current, actions);
  element("history").showModal();
}
