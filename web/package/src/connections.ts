/**
 * The workers that an engine may run in. Beside worker.ts, whose address stands below: where a
 * bundler leaves that as it is, the script is looked for beside the app's.
 */

import { makeError } from "./errors.js";
import type { Connection } from "./page/worker-client.js";
import { isModule } from "./checks.js";
import { sharedBy, type LoadRequest, type Port, type ToWorker } from "./protocol.js";
import { startWorker } from "./page/start.js";

/**
 * Where the engine runs: in a worker of its own (default); in a SharedWorker, so that the tabs of
 * an app share one copy of a model on the GPU; in a worker that the app made from
 * `peregrine/worker`; or right here, which is the default where there are no workers (Node, shared
 * and service workers).
 */
export type WorkerChoice = "dedicated" | "shared" | "here" | Worker;

/** A worker of the page's own. */
export function dedicated(): Connection {
  return connectionTo(startWorker("Worker", () => new Worker(new URL("./worker.js", import.meta.url), { type: "module", name: "peregrine" })));
}

/**
 * A worker for the work that is done before there is an engine, or this thread where there are no
 * workers.
 */
export const anyConnection = (): Connection | Promise<Connection> => (typeof Worker === "undefined" ? here() : dedicated());

function connectionTo(worker: Worker): Connection {
  return {
    port: worker,
    onFailure(listener) {
      worker.addEventListener("error", (event) => {
        event.preventDefault?.();
        listener(event.message);
      });
    },
    end: () => worker.terminate(),
  };
}

/** Milliseconds that a worker of the app's may take until it says a word. */
const PATIENCE = 60_000;

/** The app's workers that have, or had, an engine. */
const taken = new WeakMap<Worker, "in use" | "ended">();

/** A worker of the app's: it has one engine, and ends with it. */
function appsOwn(worker: Worker): Connection {
  const before = taken.get(worker);
  if (before === "in use") throw makeError("argument", "worker: this Worker has an engine already; make one for each engine");
  if (before === "ended") throw makeError("argument", "worker: this Worker has ended with its engine; make a new one");
  taken.set(worker, "in use");
  const connection = connectionTo(worker);
  const end = () => (taken.set(worker, "ended"), connection.end());
  return { ...connection, end, patience: PATIENCE };
}

/** Throws where no worker can be shared. */
export function checkShared(request: LoadRequest): void {
  if (typeof SharedWorker === "undefined") throw makeError("not-supported", 'worker: "shared": there is no SharedWorker here');
  if (request.source.kind === "blobs") throw makeError("not-supported", 'worker: "shared" needs a model by its address or hub id');
  // A SharedWorker is a process of its own, into which no compiled module is taken: the message
  // would never arrive.
  const module = isModule(request.wasm) ? "wasmUrl" : isModule(request.grammarWasm) ? "grammarUrl" : undefined;
  if (module) {
    throw makeError("not-supported", `${module}: a WebAssembly.Module cannot go to worker: "shared"; give its address or bytes`);
  }
  if (!navigator.locks) throw makeError("not-supported", 'worker: "shared" needs a page that is served over https or from localhost (navigator.locks)');
}

/** A worker that every tab of this origin shares that wants the same model in the same way. */
async function shared(request: LoadRequest): Promise<Connection> {
  checkShared(request);
  const name = `peregrine ${sharedBy(request)}`;
  const worker = startWorker("SharedWorker", () => new SharedWorker(new URL("./worker.js", import.meta.url), { type: "module", name }));
  const { port } = worker;
  // The worker waits for this lock: it is free when this page has gone, however it went.
  const lock = `peregrine page ${crypto.randomUUID()}`;
  const release = await new Promise<() => void>((resolve, reject) => {
    navigator.locks.request(lock, () => new Promise<void>((done) => resolve(done))).catch((cause: unknown) => {
      reject(makeError("no-worker", `worker: "shared": this page may not hold locks: ${(cause as Error).message}`, { cause }));
    });
  });
  port.start();
  port.postMessage({ type: "hello", lock });
  return {
    port,
    onFailure: (listener) => worker.addEventListener("error", () => listener("")),
    end() {
      port.close();
      release();
    },
  };
}

/**
 * One end of a connection within one thread. Unlike a MessageChannel it clones nothing: in Node,
 * files as Blobs cannot be cloned.
 */
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

/** `Server` of ./worker/server.js; its own types are no app's business. */
type Serving = new (onIdle: () => void) => { connect(port: Port): void };

let linked: Serving | undefined;

/** Links the worker's side in: `peregrine/service-worker` does it. @internal */
export function setServer(server: Serving): void {
  linked = server;
}

async function loadServer(): Promise<Serving> {
  try {
    return (await import("./worker/server.js")).Server;
  } catch (cause) {
    const isService = "ServiceWorkerGlobalScope" in globalThis;
    const why = isService ? 'a service worker imports the package from "peregrine/service-worker"' : (cause as Error).message;
    throw makeError("no-worker", `worker: "here": the engine could not be imported: ${why}`, { cause });
  }
}

/** No worker at all. */
async function here(): Promise<Connection> {
  const Here = linked ?? (await loadServer());
  const [page, worker] = [new End(), new End()];
  [page.other, worker.other] = [worker, page];
  new Here(() => {}).connect(worker);
  return {
    port: page,
    onFailure() {},
    end() {
      // There is no worker whose end would free the model.
      page.postMessage({ type: "call", id: 0, call: "dispose", request: null } satisfies ToWorker);
      page.other = worker.other = undefined;
    },
  };
}

/** A Worker, also one of another frame's. */
const isWorker = (value: unknown): value is Worker =>
  typeof value === "object" && value !== null && ["postMessage", "addEventListener", "terminate"].every((method) => typeof (value as Record<string, unknown>)[method] === "function");

/** The connection to the worker that was chosen. */
export function connectionFor(choice: WorkerChoice | undefined, request: LoadRequest): Connection | Promise<Connection> {
  switch (choice) {
    case undefined:
      return anyConnection();
    case "dedicated":
      return dedicated();
    case "shared":
      return shared(request);
    case "here":
      return here();
    default:
      if (isWorker(choice)) return appsOwn(choice);
      throw makeError("argument", 'worker: expected "dedicated", "shared", "here" or a Worker');
  }
}
