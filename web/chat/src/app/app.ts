/** What the page consists of, apart from how it looks. */

import { effect, signal, untracked, type Signal } from "@preact/signals";
import { createContext } from "preact";
import { useContext } from "preact/hooks";
import { language, speak, t, wantedLanguage } from "../i18n/index.js";
import { adaptersOf, forgetAdaptersOf } from "../store/adapters.js";
import type { Database } from "../store/database.js";
import { Locks } from "../store/liveness.js";
import { openDatabase, type Opened } from "../store/open.js";
import { Store } from "../store/store.js";
import { sharedId } from "./address.js";
import { isSameModel } from "./choice.js";
import { Choosing } from "./choosing.js";
import { Documents } from "./documents.js";
import { isDevice, modelOf, type Answerer } from "./engine.js";
import { beginsLikeModel, Models } from "./models.js";
import { nameOf, type Offer } from "./offers.js";
import { tell } from "./notices.js";
import { keptSettings, type Settings } from "./settings.js";
import { draftOf, joined, putDraft } from "./local.js";
import { Sender } from "./sending.js";
import { Sent } from "./sent.js";
import { onServerChange } from "./server.js";
import { Talk } from "./talk.js";
import type { Aloud, Dictation } from "./voice.js";

/** Dialogs of the page; one at a time is open. */
export type DialogName = "settings" | "models" | "instructions" | "trash" | "keys";

/** How long a model waits for the database before it answers without its adapters. */
const DATABASE_MS = 2000;

/** The page. */
export class App {
  readonly settings: Signal<Settings> = keptSettings();
  readonly dialog = signal<DialogName | undefined>(undefined);
  /** The model on offer that the dialog for models asks about. */
  readonly asking = signal<Offer | undefined>(undefined);
  /** The dialog for models opens at the server behind the device. */
  readonly toServer = signal(false);
  /** The chat whose instructions are changed. */
  readonly subject = signal<string | undefined>(undefined);
  /** Whether what is kept outlives the page; undefined until that is known. */
  readonly kept = signal<boolean | undefined>(undefined);
  readonly store: Promise<Store>;
  readonly models: Models;
  readonly talk: Talk;
  readonly documents: Documents;
  readonly sent: Sent;
  readonly sender: Sender;
  /** Once it is loaded, where the browser has anything of the kind. */
  readonly voice = signal<{ dictation: Dictation; aloud: Aloud; languageOf: (text: string, page: string) => string } | undefined>(undefined);

  /**
   * A model is loaded, saved chats are imported; whatever else comes goes along with the next
   * question, and never takes the place of a model.
   */
  async take(files: readonly File[]): Promise<void> {
    if (await this.#takeAdapter(files)) return;
    if (isFolder(files)) return void this.models.load({ kind: "folder", files });
    for (const file of files) {
      if (/\.gguf$/i.test(file.name) || (await beginsLikeModel(file))) return void this.models.load({ kind: "file", file });
    }
    const others: File[] = [];
    for (const file of files) {
      if (await hasChats(file)) await this.withFiles((files, store) => files.importChats(store, file));
      else others.push(file);
    }
    await this.documents.attach(others);
  }

  /** A file that was chosen as a model: it may be an adapter. */
  async open(file: File): Promise<void> {
    if (!(await this.#takeAdapter([file]))) await this.models.load({ kind: "file", file });
  }

  /**
   * A folder that was chosen as a model: it may be an adapter's; and of what is neither the engine
   * says why.
   */
  async openFolder(files: readonly File[]): Promise<void> {
    if (!(await this.#takeAdapter(files))) await this.models.load({ kind: "folder", files });
  }

  /** Whether there was an adapter among these. */
  async #takeAdapter(files: readonly File[]): Promise<boolean> {
    // Beside a whole model an adapter is left alone.
    if (isFolder(files) || !files.some(({ name }) => /\.gguf$|^adapter_config\.json$/i.test(name))) return false;
    return import("./adapters.js").then(({ takeAdapter }) => takeAdapter(this.models, this.#db, files), () => false);
  }

  /** Adapters that acted beside this model in an earlier visit. */
  async #bringAdapters(engine: Answerer): Promise<void> {
    if (!isDevice(engine)) return;
    const wait = new Promise<undefined>((resolve) => setTimeout(resolve, DATABASE_MS));
    const db = await Promise.race([this.#db, wait]);
    // An older tab may keep the database shut: the model answers meanwhile.
    if (!db) return void this.#db.then(() => this.#bringAdapters(engine)).catch(() => undefined);
    const here = new Set(engine.info.adapters.map(({ id }) => id));
    const kept = (await adaptersOf(db, modelOf(engine))).filter(({ id }) => !here.has(id));
    if (kept.length > 0) await import("./adapters.js").then(({ bringAdapters }) => bringAdapters(this.models, engine, db, kept));
  }

  /**
   * A model is not kept on this device any more, nor what is kept beside it; how many adapters that
   * were.
   */
  async forgetModel(model: string): Promise<number> {
    this.models.forgetPaused(model);
    return this.#db.then((db) => forgetAdaptersOf(db, (source) => isSameModel(source, model))).catch(() => 0);
  }

  /** Forgets an adapter. */
  async removeAdapter(id: string): Promise<void> {
    const { removeAdapter } = await import("./adapters.js");
    await removeAdapter(this.models, this.#db, id);
  }

  /** Saves chats, or reads saved ones, with code that comes when it is used. */
  async withFiles(act: (files: typeof import("./files.js"), store: Store) => Promise<void>): Promise<void> {
    const files = await import("./files.js").catch(() => undefined);
    if (files) await act(files, await this.store);
    else tell(t("app.partMissing"));
  }

  /** Begins with what the address says. */
  begin(): void {
    const shared = sharedId(location.search);
    this.talk.begin();
    this.models.begin();
    if (shared !== null) void this.#takeShared(shared);
    if ("speechSynthesis" in globalThis || "SpeechRecognition" in globalThis) void this.#loadVoice().catch(() => undefined);
  }

  async #loadVoice(): Promise<void> {
    const { Aloud, Dictation, languageOf } = await import("./voice.js");
    this.voice.value = { dictation: new Dictation(language), aloud: new Aloud(), languageOf };
  }

  /**
   * What another app has shared waits beside the box of a new chat; whatever it is, it takes the
   * place of nothing.
   */
  async #takeShared(id: string): Promise<void> {
    const found = await import("./shared.js").then(({ takeShared }) => takeShared(id), () => undefined);
    if (!found) return tell(t("app.notShared"));
    if (found.text !== "") putDraft(null, joined(draftOf(null), found.text));
    this.talk.open(null);
    await this.documents.attach(found.files);
  }

  get #db(): Promise<Database> {
    return this.store.then(({ db }) => db);
  }

  /** Opens the chooser for model files; the page puts it there. */
  openFile: () => void = () => {};

  constructor() {
    const locks = new Locks();
    effect(() => void speak(wantedLanguage(this.settings.value.language)));
    this.store = openDatabase(() => tell(t("app.blocked"), { stays: true })).then((opened) => this.#opened(opened, locks));
    this.models = new Models({
      settings: this.settings,
      nameOf,
      idle: () => this.talk.idle(),
      openDialog: () => (this.dialog.value = "models"),
      openServer: () => {
        this.toServer.value = true;
        this.dialog.value = "models";
      },
      openFile: () => this.openFile(),
      beside: (engine) => this.#bringAdapters(engine),
      setContext: (contextLength) => (this.settings.value = { ...this.settings.value, contextLength }),
    });
    // Who forgets it in one tab means all of them.
    onServerChange(() => this.models.serverChanged());
    this.talk = new Talk({ store: this.store, locks, models: this.models, settings: this.settings });
    const choosing = new Choosing(this.models, this.settings);
    this.documents = new Documents(this.#db, this.talk, choosing);
    this.sent = new Sent(this.#db, this.talk, choosing, this.documents);
    this.sender = new Sender(this.talk, this.documents);
    // What is said is the chat's that is open.
    effect(() => {
      void this.talk.chat.value;
      untracked(() => (this.voice.value?.aloud.stop(), this.voice.value?.dictation.stop()));
    });
  }

  /**
   * Changes what is kept; where the browser does not let it, the page says so. Whether it was done.
   */
  readonly change = async (act: (store: Store) => Promise<unknown>): Promise<boolean> => {
    try {
      await act(await this.store);
      return true;
    } catch {
      tell(t("app.notKept"));
      return false;
    }
  };

  /**
   * Looks whether what is on the page is still kept. While a browser clears its data the database
   * cannot be opened: then again, each time twice as late.
   */
  async #check(tries: number, after = 200): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, after));
    try {
      await this.talk.check();
    } catch {
      if (tries > 1) await this.#check(tries - 1, 2 * after);
    }
  }

  #opened({ db, kept }: Opened, locks: Locks): Store {
    const store = new Store(db, locks);
    this.kept.value = kept;
    // A page that is newer, or a browser that clears its data, takes the database away.
    db.on("versionchange", ({ newVersion }) => {
      if (newVersion) tell(t("app.outdated"), { stays: true, action: { label: t("app.reload"), go: () => location.reload() } });
    });
    // What is not kept goes with the page: then the browser asks first.
    if (!kept) addEventListener("beforeunload", (event) => this.talk.branch.value.length > 0 && event.preventDefault());
    db.on("close", () => void this.#check(10));
    void store.recover().then(() => store.purgeOld());
    return store;
  }
}

/** Whether these are a whole model's folder of safetensors. */
const isFolder = (files: readonly File[]): boolean => files.some(({ name }) => name === "config.json") && files.some(({ name }) => /\.safetensors$/i.test(name) && name !== "adapter_model.safetensors");

/** Whether a file looks like one of saved chats; only its beginning is read. */
async function hasChats(file: File): Promise<boolean> {
  if (!/\.json$/i.test(file.name)) return false;
  const head = await file.slice(0, 4096).text().catch(() => "");
  return /"format"\s*:\s*"peregrine-chats"/.test(head);
}

/** The page, for its parts. */
export const Page = createContext<App>(undefined as unknown as App);
export const useApp = (): App => useContext(Page);
