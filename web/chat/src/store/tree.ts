/** The tree of a chat's messages, and the branch of it that one reads. */

import type { Message } from "./types.js";

/** Oldest first; ids settle what the clock cannot. */
const byAge = (a: Message, b: Message) => a.created - b.created || (a.id < b.id ? -1 : 1);

/** A chat's messages, by what stands before them. */
export class Tree {
  readonly #byId = new Map<string, Message>();
  readonly #children = new Map<string | null, Message[]>();

  constructor(messages: readonly Message[]) {
    for (const message of messages) this.#byId.set(message.id, message);
    for (const message of [...messages].sort(byAge)) {
      // What has lost its parent begins a branch: it is shown rather than hidden.
      const parent = message.parent !== null && this.#byId.has(message.parent) ? message.parent : null;
      const siblings = this.#children.get(parent);
      if (siblings) siblings.push(message);
      else this.#children.set(parent, [message]);
    }
  }

  get size(): number {
    return this.#byId.size;
  }

  get(id: string | null): Message | undefined {
    return id === null ? undefined : this.#byId.get(id);
  }

  /** What follows a message, oldest first. */
  children(id: string | null): readonly Message[] {
    return this.#children.get(id) ?? [];
  }

  /** All versions at a message's place, itself among them. */
  versions(id: string): readonly Message[] {
    const message = this.#byId.get(id);
    if (!message) return [];
    return this.children(this.get(message.parent) ? message.parent : null);
  }

  /** From the first message to this one. */
  upTo(id: string | null): Message[] {
    const path: Message[] = [];
    const seen = new Set<string>();
    for (let at = this.get(id); at && !seen.has(at.id); at = this.get(at.parent)) {
      seen.add(at.id);
      path.unshift(at);
    }
    return path;
  }

  /**
   * The last message of a branch that goes on from here: toward `prefer` where that lies below,
   * else by the newest.
   */
  leafBelow(id: string | null, prefer: string | null = null): string | null {
    const wanted = new Set(this.upTo(prefer).map((message) => message.id));
    let at = id;
    for (let next = this.children(at); next.length > 0; next = this.children(at)) {
      at = (next.find((message) => wanted.has(message.id)) ?? (next.at(-1) as Message)).id;
    }
    return at;
  }

  /** The branch that one reads who stands at `leaf`: what came after it belongs to it. */
  branch(leaf: string | null, head: string | null): Message[] {
    const from = this.get(leaf) ? leaf : null;
    return this.upTo(this.leafBelow(from, head));
  }
}
