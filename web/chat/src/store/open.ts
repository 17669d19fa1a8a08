/**
 * Opens the database. Where the browser keeps nothing (private windows), the page works with one in
 * memory, and says so.
 */

import Dexie from "dexie";
import { Database, type Place } from "./database.js";

/** The open database, and whether what is in it outlives the page. */
export interface Opened {
  db: Database;
  kept: boolean;
}

/**
 * Opens it; `onBlocked` is called while a tab with an older version of this page holds the
 * database.
 */
export async function openDatabase(onBlocked: () => void): Promise<Opened> {
  const db = new Database();
  db.on("blocked", onBlocked);
  try {
    // Where it is forbidden, opening throws or rejects, as the browser likes.
    await db.open();
    return { db, kept: true };
  } catch {
    const { IDBFactory, IDBKeyRange } = await import("fake-indexeddb");
    const place: Place = { indexedDB: new IDBFactory(), IDBKeyRange };
    // Live queries look for one that all databases share, and ask nothing where there is none.
    Dexie.dependencies.indexedDB ??= place.indexedDB;
    Dexie.dependencies.IDBKeyRange ??= IDBKeyRange;
    const inMemory = new Database(place);
    await inMemory.open();
    return { db: inMemory, kept: false };
  }
}
