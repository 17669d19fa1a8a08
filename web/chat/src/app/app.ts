/** What the page consists of, apart from how it looks. */

import { signal, type Signal } from "@preact/signals";
import { createContext } from "preact";
import { useContext } from "preact/hooks";
import { t } from "../i18n/index.js";
import { Locks } from "../store/liveness.js";
import { openDatabase, type Opened } from "../store/open.js";
import { Store } from "../store/store.js";
import { Models } from "./models.js";
import { nameOf } from "./offers.js";
import { tell } from "./notices.js";
import { keptSettings, type Settings } from "./settings.js";
import { Talk } from "./talk.js";

/** Dialogs of the page; one at a time is open. */
export type DialogName = "settings" | "models" | "instructions" | "trash" | "keys";

/** The page. */
export class App {
  readonly settings: Signal<Settings> = keptSettings();
  readonly dialog = signal<DialogName | undefined>(undefined);
  /** The chat whose instructions are changed. */
  readonly subject = signal<string | undefined>(undefined);
  /** Whether what is kept outlives the page; undefined until that is known. */
  readonly kept = signal<boolean | undefined>(undefined);
  readonly store: Promise<Store>;
  readonly models: Models;
  readonly talk: Talk;
  /** Opens the chooser for model files; the page puts it there. */
  openFile: () => void = () => {};

  constructor() {
    const locks = new Locks();
    this.store = openDatabase(() => tell(t("app.blocked"), { stays: true })).then((opened) => this.#opened(opened, locks));
    this.models = new Models({
      settings: this.settings,
      nameOf,
      idle: () => this.talk.idle(),
      openDialog: () => (this.dialog.value = "models"),
      openFile: () => this.openFile(),
    });
    this.talk = new Talk({ store: this.store, locks, models: this.models, settings: this.settings });
  }

  #opened({ db, kept }: Opened, locks: Locks): Store {
    const store = new Store(db, locks);
    this.kept.value = kept;
    // A page that is newer, or a browser that clears its data, takes the database away.
    db.on("versionchange", ({ newVersion }) => {
      if (newVersion) tell(t("app.outdated"), { stays: true, action: { label: t("app.reload"), go: () => location.reload() } });
    });
    db.on("close", () => (console.log("on close"), 0) || setTimeout(() => void this.talk.check().catch((e) => console.log("check failed", String(e)))));
    void store.recover().then(() => store.purgeOld());
    return store;
  }
}

/** The page, for its parts. */
export const Page = createContext<App>(undefined as unknown as App);
export const useApp = (): App => useContext(Page);
