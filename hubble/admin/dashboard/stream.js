// The live view: server-sent events, read with fetch, because an EventSource cannot send the token.

const FIRST_PAUSE = 500, LONGEST_PAUSE = 10_000; // milliseconds

export class Refused extends Error {}

// Send a request to the API; throws Refused if the token is not accepted.
export async function ask(token, path, options = {}) {
  const answer = await fetch(path, { ...options, headers: { Authorization: `Bearer ${token}`, ...options.headers } });
  if (answer.status === 401) throw new Refused("The token was not accepted.");
  return answer;
}

// Follow the stream until `signal` aborts, reconnecting after each loss. Calls onState with "live" or "lost", and
// onView(view, first) for each view; the first view of a stream repeats all events and points.
// `begun` is the answer to a first request that was sent earlier, if any.
export async function follow(token, query, { signal, onView, onState, begun }) {
  let pause = FIRST_PAUSE;
  while (!signal.aborted) {
    try {
      const answer = await (begun ?? ask(token, `api/stream?${query}`, { signal }));
      begun = undefined;
      if (!answer.ok) throw new Error((await answer.json()).error);
      let first = true;
      for await (const data of events(answer.body)) {
        onState("live");
        pause = FIRST_PAUSE;
        onView(JSON.parse(data), first);
        first = false;
      }
    } catch (error) {
      begun = undefined;
      if (signal.aborted) return;
      if (error instanceof Refused) throw error;
      console.warn(String(error));
    }
    onState("lost");
    await new Promise((resolve) => setTimeout(resolve, pause));
    pause = Math.min(2 * pause, LONGEST_PAUSE);
  }
}

// Yield the data of each event in a stream of bytes.
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
      const line = text.slice(0, end).split("\n").find((one) => one.startsWith("data: "));
      text = text.slice(end + 2);
      if (line) yield line.slice(6);
    }
  }
}
