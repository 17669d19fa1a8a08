/** The server that a person lets answer where this device cannot. */

/** Where it is, and what to ask it for. */
export interface Server {
  /** The address of its API. */
  address: string;
  /** What it calls its model. */
  model: string;
  apiKey?: string;
}

const KEY = "peregrine.server";
/** As long as the page is open; where the browser keeps nothing. */
let unkept: Server | undefined;

/** The one that was chosen. */
export function keptServer(): Server | undefined {
  if (unkept) return unkept;
  try {
    const { address, model, apiKey } = JSON.parse(localStorage.getItem(KEY) ?? "{}") as Partial<Record<keyof Server, unknown>>;
    if (typeof address !== "string" || typeof model !== "string" || model === "" || !URL.canParse(address)) return undefined;
    return { address, model, ...(typeof apiKey === "string" && apiKey !== "" && { apiKey }) };
  } catch {
    return undefined;
  }
}

/** Keeps it in this browser; undefined: there is none any more. */
export function keepServer(server: Server | undefined): void {
  unkept = undefined;
  try {
    // The one before it is gone in any case, also where there is no room for this one.
    localStorage.removeItem(KEY);
    if (server) localStorage.setItem(KEY, JSON.stringify(server));
  } catch {
    unkept = server;
  }
}

/** Whether it is still the one that was chosen, with the same key. */
export function isKept(server: Server): boolean {
  const kept = keptServer();
  return kept !== undefined && kept.address === server.address && kept.model === server.model && kept.apiKey === server.apiKey;
}

/** Hears when another tab keeps another one, or forgets it. */
export function onServerChange(hear: () => void): void {
  addEventListener("storage", ({ key }) => (key === KEY || key === null) && hear());
}
