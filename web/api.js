/* The server's API, as this page uses it. Paths are relative, so a prefix in front of the page works. */

const headers = (key) => (key ? { Authorization: `Bearer ${key}` } : {});

export class ApiError extends Error {}

async function errorOf(reply) {
  let message = `HTTP ${reply.status}`;
  try { message = (await reply.json()).error.message; } catch { /* not JSON: the status says it */ }
  const wait = reply.headers.get("Retry-After");
  return new ApiError(wait ? `${message} (${wait} s)` : message);
}

export async function models(key) {
  const reply = await fetch("v1/models", { headers: headers(key) });
  if (!reply.ok) throw await errorOf(reply);
  return (await reply.json()).data;
}

export async function examples() {
  try {
    const reply = await fetch("examples.json");
    return reply.ok ? await reply.json() : [];
  } catch { return []; }
}

/* Events of a text stream: yields each "data:" payload as an object, ends at [DONE]. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data: ")) continue;
      const data = line.slice(6);
      if (data === "[DONE]") return;
      yield JSON.parse(data);
    }
  }
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
  for await (const event of events(reply.body)) {
    if (event.error) throw new ApiError(event.error.message);
    if (event.usage) result.usage = event.usage;
    const choice = event.choices[0];
    if (choice?.delta?.content) onText(choice.delta.content);
    if (choice?.finish_reason) result.finish = choice.finish_reason;
    if (choice?.grounding) result.grounding = choice.grounding;
  }
  return result;
}
