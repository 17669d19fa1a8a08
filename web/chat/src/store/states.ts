/** What the engine had read of conversations, kept so that they go on without being read again. */

import type { Database } from "./database.js";
import type { KeptState } from "./types.js";

/** States are large: only those of the conversations that were used last are kept. */
const MOST_STATES = 5;
/** And at most so many bytes of them, but always the last. */
const MOST_BYTES = 1e9;

/** What the engine had read of a conversation. */
export async function stateOf(db: Database, id: string): Promise<KeptState | undefined> {
  return db.states.get(id).catch(() => undefined);
}

/** Keeps what the engine has read of a conversation. */
export function keepState(db: Database, id: string, state: Blob, read?: KeptState["read"]): Promise<void> {
  return db.transaction("rw", db.chats, db.states, async () => {
    // It may have been deleted meanwhile.
    if (!(await db.chats.get(id))) return;
    await db.states.put({ id, state, updated: Date.now(), ...(read && { read }) });
    const oldest = await db.states.orderBy("updated").toArray();
    let bytes = oldest.reduce((sum, { state }) => sum + state.size, 0);
    const goes = ({ state }: KeptState, at: number) => {
      const left = oldest.length - at;
      if (left === 1 || (left <= MOST_STATES && bytes <= MOST_BYTES)) return false;
      bytes -= state.size;
      return true;
    };
    await db.states.bulkDelete(oldest.filter(goes).map((old) => old.id));
  });
}

/** Forgets it. */
export async function forgetState(db: Database, id: string): Promise<void> {
  await db.states.delete(id);
}
