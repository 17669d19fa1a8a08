/**
 * Starts workers where the page may not simply name the script's address: the package comes from
 * another origin (a CDN), the page is in a sandboxed frame, or Trusted Types want to see the
 * address. Bundlers find workers by the words `new Worker(new URL(…, import.meta.url))`, so these
 * must stay as they are: what they make is given to a stand-in for the constructor, which is there
 * for that moment only.
 */

import { makeError } from "../errors.js";

type Kind = "Worker" | "SharedWorker";
type Constructor = new (address: unknown, options?: unknown) => object;

interface Policy {
  createScriptURL(url: string): unknown;
}
interface Policies {
  createPolicy(name: string, rules: { createScriptURL: (url: string) => string }): Policy;
}

let policy: Policy | undefined;

/** What Trusted Types take for an address. A page that lists its policies must list "peregrine". */
function trusted(url: string): unknown {
  const policies = (globalThis as { trustedTypes?: Policies }).trustedTypes;
  if (!policies) return url;
  policy ??= policies.createPolicy("peregrine", { createScriptURL: (address) => address });
  return policy.createScriptURL(url);
}

/** An address of the page's own: that of a script which does nothing but import the other. */
function ownAddress(url: string): string {
  const script = `import ${JSON.stringify(url)};`;
  // Frames without an origin of their own may not start module workers from Blobs.
  if (globalThis.origin === "null") return `data:text/javascript,${encodeURIComponent(script)}`;
  return URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
}

function standIn(kind: Kind, real: Constructor): Constructor {
  return function (address: unknown, options?: unknown) {
    // A bundler may have made a trusted one of it.
    if (typeof address !== "string" && !(address instanceof URL)) return new real(address, options);
    const url = String(address);
    const isForeign = new URL(url, globalThis.location?.href).origin !== globalThis.origin;
    if (!isForeign) return new real(trusted(url), options);
    // Each page's own address would be a worker of its own.
    if (kind === "SharedWorker") throw new Error("the package is served from another origin, and a SharedWorker must come from the page's own");
    return new real(trusted(ownAddress(url)), options);
  } as unknown as Constructor;
}

/**
 * Calls `make`, which makes a worker of that kind, and once more in another way where the page may
 * not.
 */
export function startWorker<W>(kind: Kind, make: () => W): W {
  const real = (globalThis as unknown as Record<Kind, Constructor | undefined>)[kind];
  if (!real) throw makeError("no-worker", `worker: there is no ${kind} here`);
  try {
    return make();
  } catch (refused) {
    const own = Object.getOwnPropertyDescriptor(globalThis, kind);
    Reflect.defineProperty(globalThis, kind, { value: standIn(kind, real), configurable: true, writable: true });
    try {
      return make();
    } catch (error) {
      const [first, second] = [refused, error].map((thrown) => (thrown as Error).message);
      throw makeError("no-worker", `worker: this page may not start one: ${first}${second === first ? "" : `; ${second}`}`, { cause: refused });
    } finally {
      if (own) Reflect.defineProperty(globalThis, kind, own);
      else Reflect.deleteProperty(globalThis, kind);
    }
  }
}
