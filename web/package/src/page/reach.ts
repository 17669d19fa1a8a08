/**
 * Why a server cannot be reached, as far as a page can find out: browsers tell scripts nothing but
 * that it failed.
 */

import { makeError, type PeregrineError } from "../errors.js";
import type { Told } from "./refusals.js";

/** This machine itself, which browsers let a page of https reach without. */
const isHere = ({ hostname }: URL): boolean => /^(localhost|.*\.localhost|127(\.\d+){3}|\[::1\])$/.test(hostname);

/** This machine or the local network, as far as an address tells. */
const isNear = (url: URL): boolean => isHere(url) || !url.hostname.includes(".") || /^(10\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.|.*\.local$)/.test(url.hostname);

/** Whether the browser refuses to ask that address from this page, whatever the server allows. */
export const isMixed = (url: URL): boolean => globalThis.location?.protocol === "https:" && url.protocol === "http:" && !isHere(url);

/** What to say of an address that {@link isMixed}. */
export const MIXED = "this page is served over https, from where browsers reach no http address but this machine's own (http://localhost); serve the server over https";

/** The chain of what went wrong, in words. */
function reasonOf(thrown: unknown): string {
  const { message, cause } = thrown as Error;
  const deeper = (cause as { message?: string; code?: string } | undefined) ?? {};
  const detail = deeper.message || deeper.code;
  return detail ? `${message}: ${detail}` : message;
}

/**
 * What to say of a request that failed without an answer. Asking again is of no use where it is
 * final. `wasRead`: this page has read an answer of that server before, so it may.
 */
export async function diagnose(url: URL, told: Told, cause: unknown, signal: AbortSignal, wasRead: boolean): Promise<{ error: PeregrineError; isFinal: boolean }> {
  const unreachable = (why: string) =>
    makeError("server-unreachable", `${told.address}: the server cannot be reached: ${told.hide(why)}`, {
      cause,
      api: { status: 502, type: "server_error", param: null, code: "server_unreachable" },
    });
  if (isMixed(url)) return { error: unreachable(MIXED), isFinal: true };
  const origin = globalThis.location?.origin;
  const reason = reasonOf(cause);
  if (origin === undefined || origin === "null" || origin === url.origin) return { error: unreachable(reason), isFinal: false };
  // An answer that the page may not read comes all the same. Nothing is sent with this request.
  const isThere = await fetch(url, { mode: "no-cors", credentials: "omit", redirect: "follow", cache: "no-store", signal }).then(
    () => true,
    () => false,
  );
  if (isThere && wasRead) {
    return { error: unreachable("what answers now lets no page read it; it may be what stands before the server, as long as that is away"), isFinal: false };
  }
  if (isThere) {
    const allow = `vLLM: --allowed-origins '["${origin}"]'; peregrine serve: --allowed-origins ${origin}`;
    return { error: unreachable(`it answers, but does not allow this page's origin (CORS), or what stands before it answers with an error; start it so that it does (${allow})`), isFinal: true };
  }
  const asked = isNear(url) ? "; browsers may ask the person before a page reaches this machine or the local network, and Safari lets no https page" : "";
  return { error: unreachable(`${reason}${asked}`), isFinal: false };
}
