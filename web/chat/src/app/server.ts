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
/** As long as the page is open; for browsers that keep nothing. */
let unkept: Server | undefined;

/** The one that was chosen. */
export function keptServer(): Server | undefined {
  try {
    const { address, model, apiKey } = JSON.parse(localStorage.getItem(KEY) ?? "{}") as Partial<Record<keyof Server, unknown>>;
    if (typeof address !== "string" || typeof model !== "string" || model === "" || !URL.canParse(address)) return unkept;
    return { address, model, ...(typeof apiKey === "string" && apiKey !== "" && { apiKey }) };
  } catch {
    return unkept;
  }
}

/** Keeps it in this browser; undefined: there is none any more. */
export function keepServer(server: Server | undefined): void {
  unkept = server;
  try {
    if (server) localStorage.setItem(KEY, JSON.stringify(server));
    else localStorage.removeItem(KEY);
  } catch {
    // Then it lasts as long as the page.
  }
}
