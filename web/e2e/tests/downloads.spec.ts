/**
 * Downloads against a server with faults: each ends in the right model or in the right error, and
 * nothing is sent twice.
 */

import { readFileSync } from "node:fs";
import type * as Peregrine from "peregrine";
import type { Page } from "@playwright/test";
import { close, serveModel, sha256, type ModelServer } from "../hub.js";
import { expect, golden, MODEL_FILE, sendBytes, test as base } from "../support.js";

declare global {
  var peregrine: typeof Peregrine;
  var seen: Peregrine.Progress[];
}

const MODEL = readFileSync(MODEL_FILE);
const MIB = 1 << 20;
/** Bytes of a part in the store. */
const PART = 4 * MIB;
/** Bytes of no model, for tests that only download. */
const FILE = Buffer.alloc(11 * MIB + 4321).map((_, i) => (i * 31 + (i >> 8) * 7) & 255) as Buffer;

const test = base.extend<{ server: ModelServer }>({
  server: async ({}, use) => {
    const server = await serveModel(FILE);
    await use(server);
    close(server);
  },
});

/** An empty page with the package. */
async function open(page: Page, address: string): Promise<void> {
  await page.goto(address);
  await page.evaluate(async () => {
    // Not a literal: the compiler would look for the file.
    const url = "/package/dist/index.js";
    globalThis.peregrine = await import(url);
    globalThis.seen = [];
  });
}

/** How a download ended: what it told last, or the error. */
interface Outcome {
  code?: string;
  message?: string;
  download?: Extract<Peregrine.Progress, { phase: "download" }>;
  verified?: boolean;
}

/** Downloads by the hub's name or by address. */
const download = (page: Page, server: ModelServer, model: "hub" | "url" = "hub"): Promise<Outcome> =>
  page.evaluate(
    async ({ address, model }) => {
      seen.length = 0;
      const onProgress = (progress: Peregrine.Progress) => seen.push(progress);
      try {
        const storage = await peregrine.downloadModel(
          model === "hub" ? { model: "org/repo:Q4_0", hub: address, onProgress } : { model: `${address}file.gguf`, onProgress },
        );
        if (!storage.kept) return { code: "not kept", message: storage.why };
        const download = seen.filter((progress) => progress.phase === "download").at(-1)!;
        const verify = seen.filter((progress) => progress.phase === "verify").at(-1);
        return { download, verified: verify !== undefined && verify.loaded === verify.total };
      } catch (error) {
        const { code, message } = error as Peregrine.PeregrineError;
        return { code, message };
      }
    },
    { address: server.address, model },
  );

/** SHA-256 of what is in the store, put together from its parts. */
const stored = (page: Page): Promise<string[]> =>
  page.evaluate(async () => {
    const root = await (await navigator.storage.getDirectory()).getDirectoryHandle("peregrine", { create: true });
    const found: string[] = [];
    for await (const folder of root.values()) {
      const parts: [string, File][] = [];
      let size = 0;
      for await (const [name, handle] of (folder as FileSystemDirectoryHandle).entries()) {
        const file = await (handle as FileSystemFileHandle).getFile();
        if (/^\d+$/.test(name)) parts.push([name, file]);
        if (name === "manifest.json") size = (JSON.parse(await file.text()) as { size: number }).size;
      }
      parts.sort(([a], [b]) => (a < b ? -1 : 1));
      const bytes = parts.map(([, file], i) => file.slice(0, Math.min(4 << 20, size - i * (4 << 20))));
      const digest = await crypto.subtle.digest("SHA-256", await new Blob(bytes).arrayBuffer());
      found.push(Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join(""));
    }
    return found;
  });

/** Bytes of the model that is in the store, or on its way there. */
const bytesStored = (page: Page): Promise<number> => page.evaluate(async () => (await peregrine.listModels())[0]?.stored ?? 0);

/** For a server that cuts connections: until what it has sent is in the store. */
const inStore =
  (page: Page): NonNullable<ModelServer["arrived"]> =>
  (name, first, end) =>
    expect
      .poll(
        () =>
          page.evaluate(
            async ({ name, part }) => {
              const root = await (await navigator.storage.getDirectory()).getDirectoryHandle("peregrine", { create: true });
              for await (const folder of root.values()) {
                const fileOf = async (file: string) => (await (folder as FileSystemDirectoryHandle).getFileHandle(file)).getFile();
                try {
                  const manifest = JSON.parse(await (await fileOf("manifest.json")).text()) as { name: string };
                  if (name === undefined || manifest.name.endsWith(`/${name}`)) return (await fileOf(part)).size;
                } catch {
                  // It has not begun.
                }
              }
              return 0;
            },
            { name, part: String(Math.floor(first / PART)).padStart(6, "0") },
          ),
        { intervals: [10] },
      )
      .toBeGreaterThanOrEqual((first % PART) + end);

/** The same numbers each time, from 0 to 1. */
function* random(seed: number): Generator<number, never> {
  for (let state = seed; ; ) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    yield state / 2 ** 32;
  }
}

test("a hub's model: redirected, in parallel parts, verified, sent once; then from the store, also without a network", async ({ page, site, server }) => {
  await open(page, await site.bare());
  const first = await download(page, server);
  expect(first).toMatchObject({ verified: true, download: { loaded: FILE.length, total: FILE.length, resumedFrom: 0 } });
  expect(first.download!.rate).toBeGreaterThan(0);
  expect(server.sent).toBe(FILE.length);
  expect(await stored(page)).toEqual([sha256(FILE)]);
  const again = await download(page, server);
  expect(again.download).toMatchObject({ loaded: FILE.length, resumedFrom: FILE.length });
  expect(server.sent).toBe(FILE.length);
  close(server);
  expect((await download(page, server)).download).toMatchObject({ resumedFrom: FILE.length });
});

test("cut at 50 random bytes: it goes on from there, and nothing is sent twice", async ({ page, site, server }) => {
  await open(page, await site.bare());
  server.arrived = inStore(page);
  const numbers = random(7);
  let cuts = 50;
  // Within the beginning of what is asked for, so that there are that many cuts.
  server.cut = (_, length) => (cuts-- > 0 ? 1 + Math.floor(numbers.next().value * Math.min(length - 1, 300_000)) : undefined);
  expect(await download(page, server)).toMatchObject({ verified: true });
  expect(cuts).toBeLessThanOrEqual(0);
  expect(server.sent).toBe(FILE.length);
  expect(await stored(page)).toEqual([sha256(FILE)]);
});

test("tabs that are closed in the middle: the next one goes on", async ({ page, site, server, context }) => {
  const address = await site.bare();
  server.stall = { bytes: 300_000 };
  // Of each of the three parts.
  const each = 3 * 300_000;
  for (let i = 1; i <= 4; i++) {
    const tab = await context.newPage();
    await open(tab, address);
    const ended = download(tab, server).catch(() => {});
    await expect.poll(async () => [await bytesStored(tab), server.sent]).toEqual([i * each, i * each]);
    await tab.close();
    await ended;
  }
  await open(page, address);
  server.stall = undefined;
  const { download: told, verified } = await download(page, server);
  expect(verified).toBe(true);
  expect(told!.resumedFrom).toBe(4 * each);
  expect(server.sent).toBe(FILE.length);
  expect(await stored(page)).toEqual([sha256(FILE)]);
});

test("a server in trouble: patience, then an error that names it, and nothing is lost", async ({ page, site, server }) => {
  await open(page, await site.bare());
  const arrived = inStore(page);
  Object.assign(server, { arrived, failures: [500, 503, 429] });
  server.cut = (offset) => (offset === 0 ? 2 * MIB : undefined);
  expect(await download(page, server)).toMatchObject({ verified: true });
  expect(server.sent).toBe(FILE.length);
  await page.evaluate(() => peregrine.deleteModel("org/repo:Q4_0"));
  server.sent = 0;
  // Two parts arrive, then the server is down for good.
  server.cut = (offset) => (offset >= 2 * PART ? 0 : undefined);
  server.arrived = async (name) => void (await Promise.all([0, PART].map((first) => arrived(name, first, PART))));
  const failed = await download(page, server);
  expect(failed).toMatchObject({ code: "http", message: expect.stringContaining("tried 5 times") });
  server.cut = undefined;
  const mended = await download(page, server);
  expect(mended.download!.resumedFrom).toBe(2 * PART);
  expect(server.sent).toBe(FILE.length);
  expect(await stored(page)).toEqual([sha256(FILE)]);
});

test("a file that is not there is refused at once", async ({ page, site, server }) => {
  await open(page, await site.bare());
  server.failures = [404];
  expect(await download(page, server, "url")).toMatchObject({ code: "http", message: expect.stringContaining("404") });
  expect(server.requests.length).toBe(1);
});

test("another ETag: the download starts anew; in its middle it is an error that says so", async ({ page, site, server }) => {
  await open(page, await site.bare());
  let requests = 0;
  server.cut = () => (++requests > 1 ? 0 : undefined);
  expect(await download(page, server, "url")).toMatchObject({ code: "http" });
  server.cut = undefined;
  // A new version, of the same length, while half of the old one is here.
  const other = Buffer.from(FILE.map((byte) => byte ^ 255));
  Object.assign(server, { bytes: other, etag: '"two"' });
  expect((await download(page, server, "url")).download).toMatchObject({ resumedFrom: 0 });
  expect(await stored(page)).toEqual([sha256(other)]);
  // And again, when all of it is here.
  Object.assign(server, { bytes: FILE, etag: '"three"' });
  expect((await download(page, server, "url")).download).toMatchObject({ resumedFrom: 0 });
  expect(await stored(page)).toEqual([sha256(FILE)]);
  await page.evaluate(async () => peregrine.deleteModel((await peregrine.listModels())[0]!.id));
  let served = 0;
  server.cut = () => {
    if (++served === 2) server.etag = '"four"';
    return undefined;
  };
  expect(await download(page, server, "url")).toMatchObject({ code: "http", message: expect.stringContaining("changed on the server") });
  server.cut = undefined;
  expect((await download(page, server, "url")).download).toMatchObject({ loaded: FILE.length });
  expect(await stored(page)).toEqual([sha256(FILE)]);
});

test("a shorter file on the server (416) starts anew", async ({ page, site, server }) => {
  await open(page, await site.bare());
  let requests = 0;
  server.cut = () => (++requests > 2 ? 0 : undefined);
  expect(await download(page, server, "url")).toMatchObject({ code: "http" });
  server.cut = undefined;
  const shorter = FILE.subarray(0, 3 * MIB);
  Object.assign(server, { bytes: shorter, etag: null });
  expect((await download(page, server, "url")).download).toMatchObject({ loaded: shorter.length, resumedFrom: 0 });
  expect(await stored(page)).toEqual([sha256(shorter)]);
});

test("a flipped bit on the way is an error, and is not kept", async ({ page, site, server }) => {
  await open(page, await site.bare());
  const flipped = Buffer.from(FILE);
  flipped[5 * MIB] = flipped[5 * MIB]! ^ 4;
  server.bytes = flipped;
  expect(await download(page, server)).toMatchObject({ code: "integrity", message: expect.stringContaining(sha256(flipped)) });
  expect(await page.evaluate(() => peregrine.listModels())).toEqual([]);
  server.bytes = FILE;
  expect(await download(page, server)).toMatchObject({ verified: true, download: { resumedFrom: 0 } });
  expect(await stored(page)).toEqual([sha256(FILE)]);
});

test("lengths that do not fit together", async ({ page, site, server }) => {
  await open(page, await site.bare());
  server.statedSize = FILE.length + 1;
  expect(await download(page, server)).toMatchObject({ code: "integrity", message: expect.stringContaining(String(FILE.length)) });
  expect(await download(page, server, "url")).toMatchObject({ code: "http" });
  server.statedSize = undefined;
  expect(await download(page, server)).toMatchObject({ verified: true });
  expect(await download(page, server, "url")).toMatchObject({ download: { loaded: FILE.length } });
});

test("servers without ranges, compressing ones, and those whose headers another origin may not read", async ({ page, site, server }) => {
  await open(page, await site.bare());
  const forget = () => page.evaluate(async () => Promise.all((await peregrine.listModels()).map(({ id }) => peregrine.deleteModel(id))));
  server.ranges = false;
  expect(await download(page, server)).toMatchObject({ verified: true });
  expect(await stored(page)).toEqual([sha256(FILE)]);
  await forget();
  // Cut: such a server must begin anew, and the error says what happened.
  let cuts = 1;
  server.cut = () => (cuts-- > 0 ? 5 * MIB : undefined);
  expect(await download(page, server)).toMatchObject({ code: "http", message: expect.stringContaining("the connection broke after") });
  expect(await download(page, server)).toMatchObject({ verified: true });
  await forget();
  server.gzip = true;
  expect(await download(page, server)).toMatchObject({ verified: true, download: { loaded: FILE.length } });
  expect(await stored(page)).toEqual([sha256(FILE)]);
  await forget();
  Object.assign(server, { ranges: true, exposed: "", sent: 0 });
  expect(await download(page, server)).toMatchObject({ verified: true });
  expect(server.sent).toBe(FILE.length);
  // By address, nobody says how long the file is: it comes in one go.
  for (const gzip of [true, false]) {
    await forget();
    server.gzip = gzip;
    expect(await download(page, server, "url")).toMatchObject({ download: { loaded: FILE.length, total: FILE.length } });
    expect(server.requests.at(-1)).toBe("");
    expect(await stored(page)).toEqual([sha256(FILE)]);
  }
});

test("a damaged copy mends itself: only that part is sent again", async ({ page, site, server }) => {
  server.bytes = MODEL;
  server.sha256 = sha256(MODEL);
  await open(page, await site.bare());
  expect(await download(page, server)).toMatchObject({ verified: true });
  server.sent = 0;
  await page.evaluate(async () => {
    const root = await (await navigator.storage.getDirectory()).getDirectoryHandle("peregrine");
    for await (const folder of root.values()) {
      const entry = folder as FileSystemDirectoryHandle;
      const part = await entry.getFileHandle("000002");
      const bytes = new Uint8Array(await (await part.getFile()).arrayBuffer());
      bytes[12345] = bytes[12345]! ^ 1;
      const writing = await part.createWritable();
      await writing.write(bytes);
      await writing.close();
      await entry.removeEntry("000003");
    }
  });
  const text = await page.evaluate(async (hub) => {
    const engine = await peregrine.createEngine({ model: "org/repo:Q4_0", hub });
    if (!engine.info.storage.kept) throw new Error(engine.info.storage.why);
    const messages = [{ role: "user" as const, content: "What is the capital of Italy?" }];
    const text = (await engine.chat.completions.create({ messages, temperature: 0 })).choices[0]!.message.content;
    await engine.dispose();
    return text;
  }, server.address);
  expect(text).toBe(golden("capital").answer);
  expect(server.sent).toBe(8 * MIB);
  expect(await stored(page)).toEqual([sha256(MODEL)]);
});

test("two tabs load one copy, and both show the progress", async ({ page, site, server, context }) => {
  const address = await site.bare();
  const other = await context.newPage();
  await open(page, address);
  await open(other, address);
  const shown = (tab: Page) => tab.evaluate(() => seen.filter((progress) => progress.phase === "download").length);
  // The first one has begun, and does not end before the other has seen it.
  let goOn = () => {};
  server.stall = { bytes: MIB, over: new Promise((resolve) => (goOn = resolve)) };
  const first = download(page, server);
  await expect.poll(() => server.sent).toBe(3 * MIB);
  const second = download(other, server);
  await expect.poll(() => shown(other)).toBeGreaterThan(1);
  goOn();
  for (const outcome of await Promise.all([first, second])) expect(outcome.download).toMatchObject({ loaded: FILE.length, total: FILE.length });
  expect(server.sent).toBe(FILE.length);
  expect(await shown(page)).toBeGreaterThan(1);
});

test("no room: an error that says so; with room again it goes on", async ({ page, site, server, context }) => {
  const address = await site.bare();
  await open(page, address);
  const session = await context.newCDPSession(page);
  const quota = (quotaSize: number) => session.send("Storage.overrideQuotaForOrigin", { origin: new URL(address).origin, quotaSize });
  await quota(5 * MIB);
  expect(await download(page, server)).toMatchObject({ code: "quota", message: expect.stringContaining("model-Q4_0.gguf") });
  // The browser may take back what it has offered: the bytes that are here stay.
  await quota(200 * MIB);
  server.slow = { bytes: 64 << 10, milliseconds: 100 };
  const ending = download(page, server);
  await expect.poll(() => server.sent).toBeGreaterThan(2 * MIB);
  await quota(1 * MIB);
  expect(await ending).toMatchObject({ code: "quota" });
  await quota(200 * MIB);
  server.slow = undefined;
  const { verified, download: told } = await download(page, server);
  expect(verified).toBe(true);
  expect(told!.resumedFrom).toBeGreaterThan(0);
  expect(await stored(page)).toEqual([sha256(FILE)]);
});

test("stored models are listed and deleted", async ({ page, site, server, context }) => {
  await open(page, await site.bare());
  expect(await page.evaluate(() => peregrine.listModels())).toEqual([]);
  await download(page, server, "url");
  await download(page, server);
  const models = await page.evaluate(() => peregrine.listModels());
  expect(models.map(({ model, size, stored, complete }) => [model, size, stored, complete])).toEqual([
    ["org/repo:Q4_0", FILE.length, FILE.length, true],
    [`${server.address}file.gguf`, FILE.length, FILE.length, true],
  ]);
  const { usage, quota } = await page.evaluate(() => peregrine.storageEstimate());
  expect(usage).toBeGreaterThan(2 * FILE.length);
  expect(quota).toBeGreaterThan(usage);
  expect(typeof (await page.evaluate(() => peregrine.persist()))).toBe("boolean");
  // A model that another tab loads is not deleted under its feet.
  await page.evaluate((id) => peregrine.deleteModel(id), models[1]!.id);
  const other = await context.newPage();
  await open(other, page.url());
  server.slow = { bytes: 64 << 10, milliseconds: 300 };
  const ending = download(other, server, "url");
  await expect.poll(() => page.evaluate(async () => (await peregrine.listModels()).length)).toBe(2);
  const busy = await page.evaluate((id) => peregrine.deleteModel(id).catch((error: Peregrine.PeregrineError) => error.code), models[1]!.id);
  expect(busy).toBe("busy");
  server.slow = undefined;
  await ending;
  await page.evaluate(async () => Promise.all((await peregrine.listModels()).map(({ id }) => peregrine.deleteModel(id))));
  expect(await page.evaluate(() => peregrine.listModels())).toEqual([]);
});

test("without a private file system the model is read all the same, and that is said", async ({ page, site }) => {
  const server = await serveModel(MODEL);
  const worker = readFileSync(new URL("../../package/dist/worker.js", import.meta.url));
  const refuse = Buffer.from('StorageManager.prototype.getDirectory = () => Promise.reject(new DOMException("not in private windows", "SecurityError"));\n');
  await open(page, await site.bare((request, response) => request.url === "/package/dist/worker.js" && sendBytes(request, response, "text/javascript", Buffer.concat([refuse, worker]))));
  const seen = await page.evaluate(async (hub) => {
    const engine = await peregrine.createEngine({ model: "org/repo:Q4_0", hub });
    const messages = [{ role: "user" as const, content: "What is the capital of Italy?" }];
    const text = (await engine.chat.completions.create({ messages, temperature: 0 })).choices[0]!.message.content;
    await engine.dispose();
    return { text, storage: engine.info.storage };
  }, server.address);
  expect(seen.text).toBe(golden("capital").answer);
  expect(seen.storage).toEqual({ kept: false, why: expect.stringContaining("not in private windows") });
  close(server);
});


/** Bytes of no tensors, but of files as a folder has them. */
function fakeFolder(shards: number): Map<string, Buffer> {
  const noise = (length: number, seed: number) => Buffer.alloc(length).map((_, i) => (i * seed + (i >> 9) * 5) & 255) as Buffer;
  const names = Array.from({ length: shards }, (_, i) => `model-0000${i + 1}-of-0000${shards}.safetensors`);
  const index = { weight_map: Object.fromEntries(names.map((name, i) => [`tensor.${i}`, name])) };
  return new Map([
    ["README.md", Buffer.from("# No file of the model")],
    ["config.json", Buffer.from('{"model_type": "falcon_h1"}')],
    ["tokenizer.json", noise(5 * MIB + 11, 3)],
    ["model.safetensors.index.json", Buffer.from(JSON.stringify(index))],
    ...names.map((name, i): [string, Buffer] => [name, noise(6 * MIB + 1000 * i + 1, 2 * i + 7)]),
  ]);
}
const bytesOf = (server: ModelServer) => [...server.folder].filter(([name]) => name !== "README.md").map(([, bytes]) => bytes);
const sizes = (server: ModelServer) => bytesOf(server).reduce((sum, { length }) => sum + length, 0);
const sentOf = (server: ModelServer) => [...server.sentOf.values()].reduce((sum, bytes) => sum + bytes, 0);
const downloadFolder = (page: Page, model: string, hub: string): Promise<Outcome> =>
  page.evaluate(
    async ([model, hub]) => {
      seen.length = 0;
      try {
        const storage = await peregrine.downloadModel({ model, hub, onProgress: (progress) => seen.push(progress) });
        return storage.kept ? { download: seen.filter((progress) => progress.phase === "download").at(-1)! } : { code: "not kept", message: storage.why };
      } catch (error) {
        const { code, message } = error as Peregrine.PeregrineError;
        return { code, message };
      }
    },
    [model, hub] as const,
  );

test("a folder of five files from a hub: cut at 30 random bytes, nothing is sent twice; then without a network; listed, and deleted", async ({ page, site, server }) => {
  server.folder = fakeFolder(2);
  await open(page, await site.bare());
  server.arrived = inStore(page);
  const numbers = random(11);
  let cuts = 30;
  server.cut = (_, length) => (length > 1000 && cuts-- > 0 ? 1 + Math.floor(numbers.next().value * Math.min(length - 1, 300_000)) : undefined);
  expect(await downloadFolder(page, "org/folder", server.address)).toMatchObject({ download: { loaded: sizes(server), total: sizes(server), resumedFrom: 0 } });
  expect(cuts).toBeLessThanOrEqual(0);
  expect(sentOf(server)).toBe(sizes(server));
  expect((await stored(page)).sort()).toEqual(bytesOf(server).map(sha256).sort());
  const models = await page.evaluate(() => peregrine.listModels());
  expect(models).toMatchObject([{ id: "org/folder", name: "folder", size: sizes(server), stored: sizes(server), complete: true }]);
  const exported = await page.evaluate(async () => (await peregrine.exportModel("org/folder")).map(({ name, size }) => [name, size]));
  expect(new Map(exported as [string, number][])).toEqual(new Map([...server.folder].filter(([name]) => name !== "README.md").map(([name, { length }]) => [name, length])));
  close(server);
  expect((await downloadFolder(page, "org/folder", server.address)).download).toMatchObject({ resumedFrom: sizes(server) });
  await page.evaluate(() => peregrine.deleteModel("org/folder"));
  expect(await stored(page)).toEqual([]);
});

test("a folder of which one file changes while the download is interrupted: that file is sent anew, the others go on", async ({ page, site, server, context }) => {
  server.folder = fakeFolder(2);
  const address = await site.bare();
  server.stall = { bytes: 600_000 };
  const tab = await context.newPage();
  await open(tab, address);
  const ended = downloadFolder(tab, "org/folder", server.address).catch(() => {});
  // The small files, and a piece of each of four parts: that many are asked for at a time.
  const small = bytesOf(server).reduce((sum, { length }) => sum + (length < 600_000 ? length : 0), 0);
  const begun = small + 4 * 600_000;
  await expect.poll(async () => [await bytesStored(tab), sentOf(server)]).toEqual([begun, begun]);
  await tab.close();
  await ended;
  const second = "model-00002-of-00002.safetensors";
  server.folder.set(second, Buffer.from(server.folder.get(second)!.map((byte) => byte ^ 255)));
  server.stall = undefined;
  const lost = server.sentOf.get(second)!;
  expect(lost).toBeGreaterThan(0);
  await open(page, address);
  const { download: told } = await downloadFolder(page, "org/folder", server.address);
  expect(told).toMatchObject({ loaded: sizes(server), total: sizes(server), resumedFrom: begun - lost });
  for (const [name, { length }] of server.folder) {
    if (name !== "README.md") expect(server.sentOf.get(name), name).toBe(length + (name === second ? lost : 0));
  }
  expect((await stored(page)).sort()).toEqual(bytesOf(server).map(sha256).sort());
});

for (const pages of [false, true]) {
  test(`a folder by its address, where what is missing is ${pages ? "a page" : "404"}: more files than a browser has connections`, async ({ page, site, server }) => {
    server.folder = fakeFolder(9);
    server.pages = pages;
    await open(page, await site.bare());
    expect(await downloadFolder(page, `${server.address}folder/`, server.address)).toMatchObject({ download: { loaded: sizes(server), total: sizes(server) } });
    expect(sentOf(server)).toBe(sizes(server));
    expect((await stored(page)).sort()).toEqual(bytesOf(server).map(sha256).sort());
    // What the server still has is not sent again, whichever file of the folder is named.
    expect((await downloadFolder(page, `${server.address}folder/config.json`, server.address)).download).toMatchObject({ resumedFrom: sizes(server) });
    expect(sentOf(server)).toBe(sizes(server));
    server.folder.delete("model-00003-of-00009.safetensors");
    server.pages = false;
    await page.evaluate((id) => peregrine.deleteModel(id), `${server.address}folder/`);
    expect(await downloadFolder(page, `${server.address}folder/`, server.address)).toMatchObject({ code: "http", message: expect.stringMatching(/model-00003-of-00009\.safetensors: the server answered 404/) });
  });
}
