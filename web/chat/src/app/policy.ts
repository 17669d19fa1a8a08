/**
 * What the page's own policy lets it reach: it stands in the document, so that nothing else can be
 * meant.
 */

/** Whether one source of a Content-Security-Policy is that address's. */
function isSource(source: string, url: URL): boolean {
  if (source === "'self'") return url.origin === location.origin;
  const [, scheme, any, host, port] = /^(https?):\/\/(\*\.)?([^:/*]+)(?::(\*|\d+))?$/.exec(source) ?? [];
  if (host === undefined) return false;
  if (url.protocol !== `${scheme}:` && !(scheme === "http" && url.protocol === "https:")) return false;
  if (any ? !url.hostname.endsWith(`.${host}`) : url.hostname !== host) return false;
  return port === "*" || (port ?? "") === url.port;
}

/** Whether the page may ask that address. */
export function mayReach(url: URL): boolean {
  const policy = document.querySelector<HTMLMetaElement>('meta[http-equiv="Content-Security-Policy"]')?.content ?? "";
  const sources = /(?:^|;)\s*connect-src ([^;]*)/.exec(policy)?.[1];
  // A policy that comes in another way is the browser's to tell.
  return sources === undefined || sources.trim().split(/\s+/).some((source) => isSource(source, url));
}

/** The address of an API that a person has written; undefined where it is none. */
export function apiAddress(written: string): URL | undefined {
  // Some browsers make a host of words.
  if (/\s/.test(written)) return undefined;
  const text = /^[a-z]+:\/\//i.test(written) ? written : `http://${written}`;
  if (!URL.canParse(text)) return undefined;
  const url = new URL(text);
  if (!/^https?:$/.test(url.protocol) || url.username || url.password || url.hash) return undefined;
  // Policies have no way to write it, and it is the same machine.
  if (url.hostname === "[::1]") url.hostname = "localhost";
  if (url.pathname === "/") url.pathname = "/v1";
  return url;
}
