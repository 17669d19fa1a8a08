/**
 * Keeps the page itself for visits without a network. The build puts a list of its files here;
 * their names carry hashes of what is in them, and a version is used as a whole or not at all: a
 * new one waits until every tab of the old one is closed. Conversations and models are not its
 * business.
 */

import { PrecacheController } from "workbox-precaching";
import { RangeRequestsPlugin } from "workbox-range-requests";

/** The build puts it before this code. */
const { version, files } = self.BUILD;

const CACHE = `peregrine-${version}`;

/** A cache for each version; the model is read in pieces. */
const kept = new PrecacheController({ cacheName: CACHE, plugins: [new RangeRequestsPlugin()] });
kept.addToCacheList(["./", ...files].map((url) => ({ url, revision: null })));

self.addEventListener("install", (event) => kept.install(event));

self.addEventListener("activate", (event) => {
  const old = (name) => name.startsWith("peregrine-") && name !== CACHE;
  event.waitUntil(caches.keys().then((names) => Promise.all(names.filter(old).map((name) => caches.delete(name)))));
});

self.addEventListener("message", ({ data }) => {
  // The person wants the newer version now.
  if (data === "take over") self.skipWaiting();
});

/**
 * What another app has shared waits here until the page takes it; its name begins otherwise than
 * those of versions.
 */
const SHARED = "shared-peregrine";

/** Puts what was shared where the page finds it, and opens the page. */
async function share(request) {
  const home = new URL("./", self.registration.scope);
  try {
    const form = await request.formData();
    const id = crypto.randomUUID();
    const cache = await caches.open(SHARED);
    const names = [];
    for (const file of form.getAll("files")) {
      if (!(file instanceof File)) continue;
      await cache.put(`${home.href}${id}/${names.length}`, new Response(file, { headers: { "Content-Type": file.type || "application/octet-stream" } }));
      names.push(file.name);
    }
    const text = ["title", "text", "url"].map((name) => [name, String(form.get(name) ?? "")]);
    await cache.put(`${home.href}${id}`, Response.json({ ...Object.fromEntries(text), files: names }));
    home.searchParams.set("shared", id);
  } catch {
    // No room, or no form: then the page tells that nothing came.
    home.searchParams.set("shared", "none");
  }
  return Response.redirect(home.href, 303);
}

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (request.method === "POST" && url.href === new URL("./share", self.registration.scope).href) return event.respondWith(share(request));
  if (request.method !== "GET" || url.origin !== location.origin) return;
  const address = url.origin + url.pathname;
  if (kept.getCacheKeyForURL(address)) return event.respondWith(kept.strategy.handle({ event, request: new Request(address, { headers: request.headers }) }));
  // What the page needs only now and then is kept once it was used; its name says which version it
  // is.
  if (url.pathname.includes("/assets/")) event.respondWith(keptOnceUsed(event, address));
});

async function keptOnceUsed(event, address) {
  const cache = await caches.open(CACHE);
  const found = await cache.match(address);
  if (found) return found;
  const answer = await fetch(event.request);
  if (answer.status === 200) event.waitUntil(cache.put(address, answer.clone()).catch(() => undefined));
  return answer;
}
