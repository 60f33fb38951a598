// Runs before the page is parsed: reads the token, and requests the first view.

import { ask } from "./stream.js";

export const PAGE = 50;
export const chosen = { search: "", state: "", sort: "since", order: "desc", offset: 0, gateways_offset: 0 };
export const query = () => new URLSearchParams(Object.entries({ ...chosen, limit: PAGE }).map(([name, value]) => [name, String(value)]));

export function takeToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    sessionStorage.setItem("token", given);
    history.replaceState(null, "", location.pathname);
  }
  return sessionStorage.getItem("token");
}

// Send the first request; return it with its AbortController, or null without a token.
function begin(token) {
  if (!token) return null;
  const controller = new AbortController();
  const answer = ask(token, `api/stream?${query()}`, { signal: controller.signal });
  answer.catch(() => {}); // follow() handles the error when it awaits the answer
  return { token, controller, answer };
}

export const first = begin(takeToken());
