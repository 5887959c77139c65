/* What the browser keeps: settings in localStorage; conversations and their pictures in IndexedDB, a
 * picture once. A browser that keeps nothing (private windows) or is full still has a page that works:
 * every function says what became of it, none throws. Every page of this address can write there: what is no
 * conversation of ours is as if it were not there. */

import { cleanTurn } from "./conversation.js";

const DATABASE = "vl2", CONVERSATIONS = "conversations", PICTURES = "pictures";

let database = null; /* a promise; asked for anew when it could not be had */

function open() {
  database ??= new Promise((resolve, reject) => {
    const request = indexedDB.open(DATABASE, 2);
    request.onupgradeneeded = () => {
      const database = request.result;
      for (const name of [...database.objectStoreNames]) database.deleteObjectStore(name);
      database.createObjectStore(CONVERSATIONS, { keyPath: "id" });
      database.createObjectStore(PICTURES, { keyPath: "id" });
    };
    request.onsuccess = () => {
      request.result.onclose = request.result.onversionchange = () => { request.result.close(); database = null; };
      resolve(request.result);
    };
    request.onerror = () => reject(request.error);
    request.onblocked = () => reject(new Error("another tab has an older database"));
  });
  database.catch(() => { database = null; });
  return database;
}

/* Runs action(conversations, pictures) in one transaction; resolves with what it left in `result.value`. */
async function transact(mode, action) {
  const opened = await open();
  return new Promise((resolve, reject) => {
    const transaction = opened.transaction([CONVERSATIONS, PICTURES], mode);
    const result = {};
    transaction.oncomplete = () => resolve(result.value);
    transaction.onabort = transaction.onerror = () => reject(result.error ?? transaction.error ?? new Error("the browser gave up"));
    action(transaction.objectStore(CONVERSATIONS), transaction.objectStore(PICTURES), result);
  });
}

export const newId = () => Array.from(crypto.getRandomValues(new Uint32Array(3)), (n) => n.toString(36)).join("");

const isConversation = (record) => typeof record?.id === "string" && Number.isInteger(record.revision) &&
  Number.isFinite(record.changed) && Array.isArray(record.turns) && record.turns.every((turn) => cleanTurn(turn) !== null);

const picturesOf = (conversation) => conversation.turns.flatMap((turn) => turn.pictures);

/* A turn as it is kept: its pictures by id. */
const kept = (turn) => ({ ...turn, pictures: turn.pictures.map((picture) => picture.id) });

async function saveNow(conversation) {
  const fresh = picturesOf(conversation).filter((picture) => !picture.kept);
  const before = { id: conversation.id, revision: conversation.revision };
  try {
    await transact("readwrite", (conversations, pictures, result) => {
      for (const { id, name, blob } of fresh) pictures.put({ id, name, blob });
      const there = conversations.get(conversation.id);
      there.onsuccess = () => {
        const other = there.result && there.result.revision !== conversation.revision;
        if (other) Object.assign(conversation, { id: newId(), revision: 0 });
        conversation.revision += 1;
        const { id, revision, turns } = conversation;
        try {
          conversations.put({ id, revision, changed: Date.now(), turns: turns.map(kept) });
        } catch (error) {
          result.error = error;
          conversations.transaction.abort();
        }
      };
    });
    for (const picture of fresh) picture.kept = true;
    return "kept";
  } catch (error) {
    Object.assign(conversation, before);
    return error?.name === "QuotaExceededError" ? "full" : "not kept";
  }
}

/* Keeps a conversation. Where another tab has gone on with the same one, this becomes a copy of its own.
 * Returns "kept", "full" or "not kept". One at a time, so that revisions count up. */
let saving = Promise.resolve();
export function save(conversation) {
  saving = saving.then(() => saveNow(conversation));
  return saving;
}

/* The conversation with this id, or the one changed last; null if there is none. */
export async function load(id) {
  try {
    const found = await transact("readonly", (conversations, _, result) => {
      const request = id ? conversations.get(id) : conversations.getAll();
      request.onsuccess = () => { result.value = request.result; };
    });
    const [record] = [found].flat().filter(isConversation).sort((a, b) => b.changed - a.changed);
    return record ? await withPictures(record) : null;
  } catch { return null; }
}

async function withPictures(record) {
  const ids = new Set(picturesOf(record)), found = new Map();
  await transact("readonly", (_, pictures) => {
    for (const id of ids) {
      const request = pictures.get(id);
      request.onsuccess = () => {
        const { name, blob } = request.result ?? {};
        if (blob instanceof Blob) found.set(id, { id, name: String(name), blob, kept: true });
      };
    }
  });
  const turns = record.turns.map(cleanTurn).map((turn) => ({ ...turn, pictures: turn.pictures.map((id) => found.get(id)).filter(Boolean) }));
  return { id: record.id, revision: record.revision, turns };
}

/* All that is kept, the newest first: {id, changed, turns (pictures as ids)}. */
export async function list() {
  try {
    const all = await transact("readonly", (conversations, _, result) => {
      const request = conversations.getAll();
      request.onsuccess = () => { result.value = request.result; };
    });
    return all.filter(isConversation).sort((a, b) => b.changed - a.changed);
  } catch { return []; }
}

/* Deletes a conversation (or none), and pictures that no other one uses. */
export async function remove(id) {
  try {
    await transact("readwrite", (conversations, pictures) => {
      if (id) conversations.delete(id);
      const request = conversations.getAll();
      request.onsuccess = () => {
        const used = new Set(request.result.filter(isConversation).flatMap(picturesOf));
        const keys = pictures.getAllKeys();
        keys.onsuccess = () => keys.result.filter((key) => !used.has(key)).forEach((key) => pictures.delete(key));
      };
    });
  } catch { /* then it stays */ }
}

export async function pictureOf(id) {
  try {
    return await transact("readonly", (_, pictures, result) => {
      const request = pictures.get(id);
      request.onsuccess = () => { if (request.result?.blob instanceof Blob) result.value = request.result; };
    });
  } catch { return undefined; }
}

export function loadSettings() {
  try { return JSON.parse(localStorage.getItem("vl2-settings") ?? "{}") ?? {}; } catch { return {}; }
}

export function saveSettings(settings) {
  try { localStorage.setItem("vl2-settings", JSON.stringify(settings)); } catch { /* nothing is kept */ }
}

/* What belongs to this tab alone: the open conversation's id, the unsent text. */
export const tab = {
  get(name) { try { return sessionStorage.getItem(`vl2-${name}`); } catch { return null; } },
  set(name, value) { try { sessionStorage.setItem(`vl2-${name}`, value); } catch { /* nothing is kept */ } },
};
