/** Documents as they were attached, beside the questions that they went along with. */

import type { Database } from "./database.js";
import { withRoom } from "./states.js";
import type { DraftDocument, Source } from "./types.js";

/**
 * Keeps documents of a chat. Where there is no room for them, what of them is read cannot be chosen
 * anew.
 */
export async function keepSources(db: Database, chat: string, documents: readonly DraftDocument[]): Promise<void> {
  if (documents.length === 0) return;
  const keep = async () => {
    if (await db.gone.get(chat)) return;
    await db.sources.bulkPut(documents.map(({ id, document }): Source => ({ id, chat, document })));
  };
  await withRoom(db, () => db.transaction("rw", db.gone, db.sources, keep)).catch(() => undefined);
}

/** A document as it was attached. */
export function sourceOf(db: Database, id: string): Promise<Source | undefined> {
  return db.sources.get(id).catch(() => undefined);
}
