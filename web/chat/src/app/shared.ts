/**
 * What another app has shared with the page: the service worker keeps it until the page takes it.
 */

import { joinedTexts } from "./address.js";

/** As in the service worker. */
const SHARED = "shared-peregrine";

/** What was shared. */
export interface Shared {
  text: string;
  files: File[];
}

/** Takes it, once; undefined where it is not there. */
export async function takeShared(id: string): Promise<Shared | undefined> {
  try {
    const cache = await caches.open(SHARED);
    const address = new URL(encodeURIComponent(id), new URL("./", location.href)).href;
    const found = await cache.match(address);
    if (!found) return undefined;
    const { title, text, url, files: names } = (await found.json()) as { title: string; text: string; url: string; files: string[] };
    const files: File[] = [];
    for (const [i, name] of names.entries()) {
      const file = await cache.match(`${address}/${i}`);
      if (file) files.push(new File([await file.blob()], name, { type: file.headers.get("Content-Type") ?? "" }));
      await cache.delete(`${address}/${i}`);
    }
    await cache.delete(address);
    return { text: joinedTexts([title, text, url]), files };
  } catch {
    return undefined;
  }
}
