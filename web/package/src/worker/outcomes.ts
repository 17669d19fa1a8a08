/**
 * Outcomes of self-checks on this device, kept in IndexedDB, which every kind of worker has. Where
 * that fails, the next load checks again.
 */

/** By what was checked: `null` where results are right, else what was wrong. */
export type Outcomes = Record<string, string | null>;

const DATABASE = "peregrine-device";
const STORE = "self-checks";
const KEY = "outcomes";
/** More than any device has: then it begins anew. */
const MOST = 500;

/** What was found before. */
export async function readOutcomes(): Promise<Outcomes> {
  return (await inStore("readonly", known)) ?? {};
}

/**
 * Keeps what was found beside what is known, also by another engine that has loaded at the same
 * time.
 */
export async function keepOutcomes(found: Outcomes): Promise<void> {
  if (Object.keys(found).length === 0) return;
  await inStore("readwrite", async (store) => {
    const all = { ...(await known(store)), ...found };
    await settled(store.put(Object.keys(all).length > MOST ? found : all, KEY));
  });
}

const known = async (store: IDBObjectStore): Promise<Outcomes> => ((await settled(store.get(KEY))) as Outcomes | undefined) ?? {};

/**
 * What `work` gives, once it is on the disk; undefined where there is no database, or it is
 * blocked.
 */
async function inStore<T>(mode: IDBTransactionMode, work: (store: IDBObjectStore) => Promise<T>): Promise<T | undefined> {
  try {
    const opening = globalThis.indexedDB.open(DATABASE, 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore(STORE);
    const database = await settled(opening);
    try {
      const transaction = database.transaction(STORE, mode);
      // A worker may be ended right after this.
      const written = new Promise<void>((resolve, reject) => {
        transaction.oncomplete = () => resolve();
        transaction.onabort = () => reject(transaction.error ?? new Error("IndexedDB failed"));
      });
      const [result] = await Promise.all([work(transaction.objectStore(STORE)), written]);
      return result;
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
