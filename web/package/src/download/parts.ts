/**
 * Parts of kept files, read and compared with their checksums: in workers beside this one, which
 * meanwhile lays out the parts before. Where there can be no other workers, and until they are
 * there, they are read here.
 */

import { makeError } from "../errors.js";
import { Entry, isSealed, partName } from "./store.js";

/** What is in the store of a part. */
export interface Part {
  /** None where it is not there. */
  bytes: Uint8Array<ArrayBuffer>;
  /** Whether they are all of it, and right. */
  isWhole: boolean;
}

/** The name by which a worker knows that it is such a one. */
export const READER = "peregrine: parts";

/** Of the entry of that id, part `part`, which has `length` bytes. */
interface Question {
  number: number;
  id: string;
  part: number;
  length: number;
}
/** `hello`: the worker is there. */
type Answer = { type: "hello" } | ({ type: "part"; number: number } & Part) | { type: "error"; number: number; message: string };

/** What a worker says, and hears. */
export interface ReaderPort {
  postMessage(message: unknown, transfer: Transferable[]): void;
  addEventListener(type: "message", listener: (event: MessageEvent) => void): void;
}

async function readPart(entry: Entry, part: number, length: number): Promise<Part> {
  try {
    const stored = (await entry.bytes(partName(part))) as Uint8Array<ArrayBuffer>;
    return { bytes: stored.subarray(0, length), isWhole: await isSealed(stored, length) };
  } catch (error) {
    if ((error as DOMException).name === "NotFoundError") return { bytes: new Uint8Array(), isWhole: false };
    throw error;
  }
}

/** The other worker's side: answers until it is ended. */
export function serveParts(port: ReaderPort): void {
  // One that is deleted and kept anew has the same place.
  const entries = new Map<string, Entry>();
  port.addEventListener("message", async ({ data: { number, id, part, length } }: MessageEvent<Question>) => {
    const post = (answer: Answer, ...transfer: Transferable[]) => port.postMessage(answer, transfer);
    try {
      const entry = entries.get(id) ?? (await Entry.find(id));
      if (entry) entries.set(id, entry);
      const found = entry ? await readPart(entry, part, length) : { bytes: new Uint8Array(), isWhole: false };
      post({ type: "part", number, ...found }, found.bytes.buffer);
    } catch (error) {
      post({ type: "error", number, message: (error as Error).message });
    }
  });
  port.postMessage({ type: "hello" } satisfies Answer, []);
}

/** What the bundler of this script has made of it: classic workers may import scripts. */
function kindOfThis(): WorkerType {
  try {
    (globalThis as { importScripts?: () => void }).importScripts?.();
    return "classic";
  } catch {
    return "module";
  }
}

let mayRead = false;

/** Says that this script is the package's own worker, so that once more it is such a reader. */
export function allowReader(): void {
  mayRead = true;
}

/** This script once more; nothing where workers may not start others, as shared ones. */
function startReader(): Worker | undefined {
  const { DedicatedWorkerGlobalScope: Scope } = globalThis as { DedicatedWorkerGlobalScope?: abstract new () => object };
  if (!mayRead || typeof Worker === "undefined" || !Scope || !(globalThis instanceof Scope)) return undefined;
  try {
    return new Worker(location.href, { name: READER, type: kindOfThis() });
  } catch {
    return undefined;
  }
}

/** A question without an answer so far; `here` reads the part without the other worker. */
interface Waiting {
  resolve: (part: Part | Promise<Part>) => void;
  reject: (error: Error) => void;
  here: () => Promise<Part>;
}

/** One other worker, if there can be one. */
class Reader {
  #worker = startReader();
  #isThere = false;
  #number = 0;
  readonly #waiting = new Map<number, Waiting>();

  constructor() {
    this.#worker?.addEventListener("message", ({ data }: MessageEvent<Answer>) => {
      if (data.type === "hello") this.#isThere = true;
      else {
        const waiting = this.#waiting.get(data.number);
        this.#waiting.delete(data.number);
        if (data.type === "part") waiting?.resolve(data);
        else waiting?.reject(new Error(data.message));
      }
    });
    this.#worker?.addEventListener("error", (event) => {
      // It could not be started, or has stopped: what it is for is done here then.
      event.preventDefault();
      this.end(({ resolve, here }) => resolve(here()));
    });
  }

  read(entry: Entry, part: number, length: number): Promise<Part> {
    const worker = this.#worker;
    const here = () => readPart(entry, part, length);
    if (!worker || !this.#isThere) return here();
    return new Promise((resolve, reject) => {
      const number = this.#number++;
      this.#waiting.set(number, { resolve, reject, here });
      worker.postMessage({ number, id: entry.id, part, length } satisfies Question);
    });
  }

  /** Ends it; `settle` says what becomes of what it has not answered. */
  end(settle: (one: Waiting) => void): void {
    this.#worker?.terminate();
    this.#worker = undefined;
    this.#waiting.forEach(settle);
    this.#waiting.clear();
  }
}

/** Most other workers. */
const READERS = 3;

/**
 * Fresh memory for a part and its checksum, which Chromium makes in the thread that asks for it,
 * take longer than what the engine's worker does with the part: several workers share them. That
 * worker and the browser's own process have a core each.
 */
const readers = (): number => Math.min(READERS, Math.max(1, (globalThis.navigator?.hardwareConcurrency ?? 4) - 2));

/** Reads parts. */
export class Parts {
  #readers: Reader[] | undefined;

  /** Starts the other workers, where that has not been done: what is here is read soon. */
  start(): Reader[] {
    return (this.#readers ??= Array.from({ length: readers() }, () => new Reader()));
  }

  /**
   * Part `part` of an entry, which has `length` bytes.
   * @throws what the browser says when it cannot be read
   */
  read(entry: Entry, part: number, length: number): Promise<Part> {
    const all = this.start();
    return all[part % all.length]!.read(entry, part, length);
  }

  /** Ends the other workers; what they have not answered fails. */
  close(): void {
    for (const reader of this.#readers ?? []) reader.end(({ reject }) => reject(makeError("cancelled", "the reading was stopped")));
  }
}
