// The live view: server-sent events, read with fetch, as an EventSource cannot send the token.

const FIRST_PAUSE = 500, LONGEST_PAUSE = 10_000; // milliseconds

export class Refused extends Error {}

// Ask the API; throws Refused where the token is not accepted.
export async function ask(token, path, options = {}) {
  const answer = await fetch(path, { ...options, headers: { Authorization: `Bearer ${token}`, ...options.headers } });
  if (answer.status === 401) throw new Refused("This token is not accepted.");
  return answer;
}

// Follow the stream until `signal` aborts, again and again: onView for each view, onState for "live" and "lost".
// onView is also told whether it is a stream's first view, which has all events and points, also those known already.
// `begun` is the first request's answer, if it was asked for before.
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

// The data of each event in a stream of bytes.
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
