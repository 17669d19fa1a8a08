/** The workers that an engine may run in. */

import { makeError } from "./errors.js";
import type { Line } from "./link.js";
import type { LoadRequest, Port } from "./protocol.js";

/**
 * Where the engine runs: in a worker of its own (default); in a SharedWorker, so that the tabs of an app share one copy of a
 * model on the GPU; in a worker that the app made from `peregrine/worker`; or right here, where there are no workers (Node).
 */
export type WorkerChoice = "dedicated" | "shared" | "here" | Worker;

/** A worker of the page's own. */
export function dedicated(): Line {
  return lineTo(new Worker(new URL("./worker.js", import.meta.url), { type: "module", name: "peregrine" }));
}

function lineTo(worker: Worker): Line {
  return {
    port: worker,
    onFailure(listener) {
      worker.addEventListener("error", (event) => {
        event.preventDefault();
        listener(event.message || "its script could not be loaded");
      });
    },
    end: () => worker.terminate(),
  };
}

/** A worker that every tab of this origin shares that wants the same model in the same way. */
async function shared(request: LoadRequest): Promise<Line> {
  if (typeof SharedWorker === "undefined") throw makeError("not-supported", "worker: this browser has no SharedWorker");
  if (request.source.kind === "blobs") throw makeError("not-supported", 'worker: "shared" needs a model by its address or hub id');
  const name = `peregrine ${JSON.stringify([request.source, request.gpu, request.contextLength ?? null, request.kvType ?? null, request.snapshotBytes ?? null, request.snapshotHostBytes ?? null, request.memoryBudget ?? null])}`;
  const worker = new SharedWorker(new URL("./worker.js", import.meta.url), { type: "module", name });
  const { port } = worker;
  // The worker waits for this lock: it is free when this page has gone, however it went.
  const lock = `peregrine page ${crypto.randomUUID()}`;
  const release = await new Promise<() => void>((resolve, reject) => {
    navigator.locks.request(lock, () => new Promise<void>((done) => resolve(done))).catch(reject);
  });
  port.start();
  port.postMessage({ type: "hello", lock });
  return {
    port,
    onFailure: (listener) => worker.addEventListener("error", () => listener("its script could not be loaded")),
    end() {
      port.close();
      release();
    },
  };
}

/** One end of a line within one thread. Unlike a MessageChannel it clones nothing: in Node, files as Blobs cannot be cloned. */
class End implements Port {
  other: End | undefined;
  readonly #listeners: ((event: MessageEvent) => void)[] = [];

  postMessage(data: unknown): void {
    const to = this.other;
    if (to) queueMicrotask(() => to.#listeners.forEach((listener) => listener({ data } as MessageEvent)));
  }

  addEventListener(_: "message", listener: (event: MessageEvent) => void): void {
    this.#listeners.push(listener);
  }
}

/** No worker at all. */
async function here(): Promise<Line> {
  const { Server } = await import("./server.js");
  // The wasm module's GPU library asks only pages and workers for a GPU; in Node neither is there, but `navigator.gpu` may be.
  if (!("Window" in globalThis) && !("WorkerGlobalScope" in globalThis)) Object.assign(globalThis, { WorkerGlobalScope: class {} });
  const [page, worker] = [new End(), new End()];
  [page.other, worker.other] = [worker, page];
  new Server(() => {}).connect(worker);
  return { port: page, onFailure() {}, end: () => (page.other = worker.other = undefined) };
}

/** The line to the worker that was chosen. */
export function lineFor(choice: WorkerChoice, request: LoadRequest): Line | Promise<Line> {
  switch (choice) {
    case "dedicated":
      return dedicated();
    case "shared":
      return shared(request);
    case "here":
      return here();
    default:
      if (typeof Worker !== "undefined" && choice instanceof Worker) return lineTo(choice);
      throw makeError("argument", 'worker: expected "dedicated", "shared", "here" or a Worker');
  }
}
