/* What the browser keeps: settings in localStorage, the conversation with its pictures in IndexedDB. */

const DATABASE = "vl2", STORE = "conversation", KEY = "current";

function open() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(DATABASE, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE);
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

async function transact(mode, action) {
  const database = await open();
  try {
    return await new Promise((resolve, reject) => {
      const request = action(database.transaction(STORE, mode).objectStore(STORE));
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
  } finally { database.close(); }
}

/* A browser that keeps nothing (private windows) still has a page that works. */
export async function loadTurns() {
  try { return (await transact("readonly", (s) => s.get(KEY))) ?? []; } catch { return []; }
}

export async function saveTurns(turns) {
  try { await transact("readwrite", (s) => s.put(turns, KEY)); } catch { /* nothing is kept */ }
}

export function loadSettings() {
  try { return JSON.parse(localStorage.getItem("vl2-settings") ?? "{}"); } catch { return {}; }
}

export function saveSettings(settings) {
  try { localStorage.setItem("vl2-settings", JSON.stringify(settings)); } catch { /* nothing is kept */ }
}
