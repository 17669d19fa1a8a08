/** Adapters beside models, kept with their files. */

import type { Database } from "./database.js";
import { withRoom } from "./states.js";
import type { KeptAdapter } from "./types.js";

/** Those of a model, the first one first. */
export async function adaptersOf(db: Database, model: string): Promise<KeptAdapter[]> {
  return db.adapters.where({ model }).sortBy("added");
}

/** Keeps one; where there is no room for it, it ends with the visit. */
export async function keepAdapter(db: Database, adapter: KeptAdapter): Promise<void> {
  await withRoom(db, () => db.adapters.put(adapter)).catch(() => undefined);
}

/** Forgets those beside a model that is not kept on this device any more; how many they were. */
export async function forgetAdaptersOf(db: Database, isSource: (source: string) => boolean): Promise<number> {
  return db.adapters.filter(({ source }) => source !== undefined && isSource(source)).delete();
}

/** Says from where the model is that one acts beside. */
export async function nameSource(db: Database, model: string, id: string, source: string): Promise<void> {
  await db.adapters.update([model, id], { source });
}

/** Forgets one. */
export async function forgetAdapter(db: Database, model: string, id: string): Promise<void> {
  await db.adapters.delete([model, id]);
}
