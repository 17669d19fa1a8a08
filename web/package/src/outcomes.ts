/** Outcomes of self-checks on this device, kept in IndexedDB, which every kind of worker has. Where that fails, the next load checks again. */

/** By what was checked: `null` where results are right, else what was wrong. */
export type Outcomes = Record<string, string | null>;

const DATABASE = "peregrine-device";
const STORE = "self-checks";
/** More than any device has: then it begins anew. */
const MOST = 500;

/** What was found before. */
export async function readOutcomes(): Promise<Outcomes> {
  return ((await inStore("readonly", (store) => store.get("outcomes"))) as Outcomes | undefined) ?? {};
}

/** Keeps what is known now. */
export async function writeOutcomes(outcomes: Outcomes): Promise<void> {
  await inStore("readwrite", (store) => (Object.keys(outcomes).length > MOST ? store.clear() : store.put(outcomes, "outcomes")));
}

/** What one request gives, or undefined where there is no database, or it is blocked. */
async function inStore(mode: IDBTransactionMode, request: (store: IDBObjectStore) => IDBRequest): Promise<unknown> {
  try {
    const opening = globalThis.indexedDB.open(DATABASE, 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore(STORE);
    const database = await settled(opening);
    try {
      return await settled(request(database.transaction(STORE, mode).objectStore(STORE)));
    } finally {
      database.close();
    }
  } catch {
    return undefined;
  }
}

function settled<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error("IndexedDB failed"));
  });
}
