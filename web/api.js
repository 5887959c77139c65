/* The server's API, as this page uses it. Paths are relative, so a prefix in front of the page works. */

const headers = (key) => (key ? { Authorization: `Bearer ${key}` } : {});

export class ApiError extends Error {
  constructor(message, status = 0, param = null) {
    super(message);
    Object.assign(this, { status, param });
  }
}

/* What an error of the server says; "" where it says nothing. */
const messageOf = (error) => (typeof error?.message === "string" ? error.message : "");

async function errorOf(reply) {
  let error = null;
  try { ({ error } = await reply.json()); } catch { /* not JSON: the status says it */ }
  const message = messageOf(error) || `HTTP ${reply.status}`, wait = reply.headers.get("Retry-After");
  return new ApiError(wait ? `${message} (${wait} s)` : message, reply.status, error?.param);
}

async function get(path, key) {
  const reply = await fetch(path, { headers: headers(key) });
  if (!reply.ok) throw await errorOf(reply);
  return reply;
}

export const models = async (key) => (await (await get("v1/models", key)).json()).data;

export const example = async (path, key) => (await get(path, key)).blob();

export async function examples(key) {
  try {
    const list = await (await get("examples.json", key)).json();
    return Array.isArray(list) ? list : [];
  } catch { return []; }
}

const LONGEST_LINE = 1 << 24, LONGEST_ANSWER = 1 << 23; /* characters: far more than a model says */

/* Events of a text stream: yields each "data:" payload as an object, returns at [DONE]; an end without it
 * is an error, for then the connection broke. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new ApiError("");
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    if (rest.length > LONGEST_LINE) throw new ApiError("");
    for (const line of lines) {
      if (!line.startsWith("data:")) continue;
      const data = line.slice(5).trim();
      if (data === "[DONE]") return;
      yield JSON.parse(data);
    }
  }
}

/* Boxes as the page trusts them: a text, an index, four finite numbers in order. */
export function cleanBoxes(list) {
  if (!Array.isArray(list)) return [];
  return list.slice(0, 500).filter((item) => item && typeof item === "object" && Number.isInteger(item.image) &&
    Array.isArray(item.box) && item.box.length === 4 && item.box.every(Number.isFinite))
    .map(({ label, image, box: [a, b, c, d] }) => ({
      label: typeof label === "string" ? label.slice(0, 200) : "", image,
      box: [Math.min(a, c), Math.min(b, d), Math.max(a, c), Math.max(b, d)],
    }));
}

/* Counts of tokens as the page trusts them: null if they are none. */
export function cleanUsage(usage) {
  const count = (n) => (Number.isSafeInteger(n) && n >= 0 ? n : 0);
  if (!Number.isSafeInteger(usage?.prompt_tokens) || !Number.isSafeInteger(usage.completion_tokens)) return null;
  return { prompt_tokens: count(usage.prompt_tokens), completion_tokens: count(usage.completion_tokens),
    prompt_tokens_details: { cached_tokens: count(usage.prompt_tokens_details?.cached_tokens) } };
}

/* Asks; onText is called with what is new. Returns {finish, grounding, usage}. */
export async function complete(request, key, signal, onText) {
  const reply = await fetch("v1/chat/completions", {
    method: "POST",
    headers: { "Content-Type": "application/json", ...headers(key) },
    body: JSON.stringify({ ...request, stream: true, stream_options: { include_usage: true } }),
    signal,
  });
  if (!reply.ok) throw await errorOf(reply);
  const result = { finish: "", grounding: [], usage: null };
  let length = 0;
  for await (const event of events(reply.body)) {
    if (event?.error) throw new ApiError(messageOf(event.error));
    if (event?.usage) result.usage = cleanUsage(event.usage);
    const choice = event?.choices?.[0];
    if (typeof choice?.delta?.content === "string" && choice.delta.content) {
      length += choice.delta.content.length;
      if (length > LONGEST_ANSWER) throw new ApiError("");
      onText(choice.delta.content);
    }
    if (choice?.finish_reason) result.finish = choice.finish_reason;
    if (choice?.grounding) result.grounding = cleanBoxes(choice.grounding);
  }
  return result;
}
