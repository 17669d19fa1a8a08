/**
 * Keeps the page itself for visits without a network. The build puts a list of its files here; their names carry hashes of what
 * is in them, and a version is used as a whole or not at all: a new one waits until every tab of the old one is closed.
 * Conversations and models are not its business.
 */

/* The build replaces this line. */ const BUILD = { version: "none", files: [] };

const CACHE = `peregrine-${BUILD.version}`;

self.addEventListener("install", (event) => {
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(["./", ...BUILD.files])));
});

self.addEventListener("activate", (event) => {
  const old = (name) => name.startsWith("peregrine-") && name !== CACHE;
  event.waitUntil(caches.keys().then((names) => Promise.all(names.filter(old).map((name) => caches.delete(name)))));
});

self.addEventListener("message", ({ data }) => {
  // The person wants the newer version now.
  if (data === "take over") self.skipWaiting();
});

/** The part of a kept file that was asked for: the model is read in pieces. */
async function part(response, header) {
  const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(header) ?? [];
  if (first === undefined) return response;
  const blob = await response.blob();
  const end = Math.min(last === "" ? blob.size : Number(last) + 1, blob.size);
  const range = `bytes ${first}-${end - 1}/${blob.size}`;
  const headers = { "Content-Range": range, ETag: response.headers.get("ETag") ?? "", "Content-Length": String(end - Number(first)) };
  return Number(first) < end ? new Response(blob.slice(Number(first), end), { status: 206, headers }) : new Response(null, { status: 416 });
}

/** What another app has shared waits here until the page takes it; its name begins otherwise than those of versions. */
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
  event.respondWith(
    caches.open(CACHE).then(async (cache) => {
      const kept = await cache.match(url.origin + url.pathname);
      if (!kept) {
        const answer = await fetch(request);
        // What the page needs only now and then is kept once it was used; its name says which version it is.
        if (answer.status === 200 && url.pathname.includes("/assets/")) await cache.put(url.origin + url.pathname, answer.clone()).catch(() => undefined);
        return answer;
      }
      const range = request.headers.get("Range");
      return range ? part(kept, range) : kept;
    }),
  );
});
