/** Requests to a worker that the test plays. */

import { Requests } from "../dist/page/requests.js";

/** `control` is that of the newest call: `event(text)`, `resolve(result)`, `reject(error)`. */
export function scripted() {
  const control = { aborts: 0, requests: [] };
  const link = {
    call(name, request, onEvent) {
      if (name === "respond") control.requests.push(request);
      control.name = name;
      control.event = onEvent;
      return { result: new Promise((resolve, reject) => Object.assign(control, { resolve, reject })), abort: () => control.aborts++ };
    },
  };
  return { requests: new Requests(link, "m", false), control };
}
