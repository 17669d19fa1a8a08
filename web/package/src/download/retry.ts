/** How long to wait before asking a server again. */

import { abortError } from "../errors.js";

/** How often a server is asked in all. */
export const ATTEMPTS = 5;

/**
 * A server may ask for so many milliseconds; what is longer is for the app, or a person, to decide.
 */
const LONGEST = 30_000;

/** Whether the same request may be answered later. */
export const mayPass = (status: number): boolean => status === 408 || status === 429 || status >= 500;

/** Milliseconds that a server asks for, in seconds or by the date when it may be asked again. */
function asked(response: Response | undefined, now: number): number {
  const given = response?.headers.get("Retry-After")?.trim();
  if (!given) return 0;
  const milliseconds = /^\d+(\.\d+)?$/.test(given) ? Number(given) * 1000 : Date.parse(given) - now;
  return Number.isFinite(milliseconds) ? Math.min(Math.max(milliseconds, 0), LONGEST) : 0;
}

/**
 * Milliseconds to wait before attempt number `attempt`, 1 being the second: three times as long
 * each time, and by chance up to half of that more, so that many clients of a server that was in
 * trouble do not come back in the same moment. A server may ask for longer.
 */
export function delay(attempt: number, response?: Response, chance: number = Math.random(), now: number = Date.now()): number {
  const own = 200 * 3 ** (attempt - 1);
  return Math.max(own, asked(response, now)) + (chance * own) / 2;
}

/** Waits before attempt number `attempt`. */
export async function pause(attempt: number, response?: Response, signal?: AbortSignal): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const stop = () => (clearTimeout(timer), reject(abortError(signal)));
    const timer = setTimeout(() => (signal?.removeEventListener("abort", stop), resolve()), delay(attempt, response));
    signal?.addEventListener("abort", stop, { once: true });
    if (signal?.aborted) stop();
  });
}
