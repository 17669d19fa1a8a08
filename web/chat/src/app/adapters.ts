/**
 * LoRA adapters that a person gives. Loaded with the first file that may be one, or the dialog for
 * models.
 */

import { signal } from "@preact/signals";
import { ModelFileError } from "peregrine";
import { t } from "../i18n/index.js";
import { forgetAdapter, keepAdapter, nameSource } from "../store/adapters.js";
import type { Database } from "../store/database.js";
import type { KeptAdapter } from "../store/types.js";
import { modelOf, type Answerer } from "./engine.js";
import { asOurs } from "./faults.js";
import type { Models } from "./models.js";
import { tell } from "./notices.js";

/** Counts the changes of what the engine has. */
export const changes = signal(0);

/** As far as a GGUF file is looked at; what it is stands among its first fields. */
const HEAD = 1 << 16;
/** `general.type`, a text of seven letters: `adapter`. */
const TYPE = /general\.type\x08\0{3}\x07\0{7}adapter/;

/** Whether a GGUF file says that it is an adapter. */
export async function isAdapter(file: Blob): Promise<boolean> {
  const bytes = new Uint8Array(await file.slice(0, HEAD).arrayBuffer().catch(() => new ArrayBuffer(0)));
  return TYPE.test(new TextDecoder("latin1").decode(bytes));
}

/** What is read of a folder of PEFT. */
const PEFT = /^(adapter_config\.json|adapter_model\.(safetensors|bin)|config\.json)$/;
const CONFIG = "adapter_config.json";

/**
 * The adapter among these files: the first of a folder of PEFT, without what training left in it,
 * or a GGUF file.
 */
async function adapterOf(files: readonly File[]): Promise<readonly File[] | undefined> {
  const folder = ({ name, webkitRelativePath: path }: File) => path.slice(0, path.length - name.length);
  const depth = (file: File) => folder(file).split("/").length;
  const [config] = files.filter(({ name }) => name === CONFIG).sort((a, b) => depth(a) - depth(b));
  if (config) return files.filter((file) => PEFT.test(file.name) && folder(file) === folder(config));
  for (const file of files) if (/\.gguf$/i.test(file.name) && (await isAdapter(file))) return [file];
  return undefined;
}

/** Loads the adapter among these files beside the model, and keeps it. Whether there was one. */
export async function takeAdapter(models: Models, db: Promise<Database>, files: readonly File[]): Promise<boolean> {
  const found = await adapterOf(files);
  if (!found) return false;
  try {
    const engine = models.engine.value;
    if (!engine) throw new Error(t("models.none"));
    // Loading waits for answers, and another model may have been taken by then.
    const source = sourceOf(models);
    const { id } = await engine.lora.load(found);
    changes.value++;
    tell(t("adapters.loaded", { name: id }));
    const kept = found.map((file) => ({ path: file.webkitRelativePath, file }));
    await keepAdapter(await db, { model: modelOf(engine), ...(source === undefined ? {} : { source }), id, added: Date.now(), files: kept });
  } catch (error) {
    tell(t("adapters.failed", { why: asOurs(error).message }));
  }
  return true;
}

/** Where the model is from that answers: then what acts beside it goes with it. */
function sourceOf(models: Models): string | undefined {
  const choice = models.choice.value;
  return choice?.kind === "remote" ? choice.model : undefined;
}

/** Loads the adapters that were kept beside a model, before it answers. */
export async function bringAdapters(models: Models, engine: Answerer, db: Database, kept: readonly KeptAdapter[]): Promise<void> {
  const own = sourceOf(models);
  for (const { model, source, id, files } of kept) {
    try {
      // Earlier versions of the page did not write it down.
      if (source === undefined && own !== undefined) await nameSource(db, model, id, own);
      await engine.lora.load(files.map(({ path, file }) => atPath(file, path)), { id });
    } catch (error) {
      // A file that is none would be no other the next time; what else is in the way may be gone
      // then.
      if (error instanceof ModelFileError) await forgetAdapter(db, model, id);
      tell(t("adapters.failed", { why: asOurs(error).message }));
    }
  }
  changes.value++;
}

/** Forgets an adapter. */
export async function removeAdapter(models: Models, db: Promise<Database>, id: string): Promise<void> {
  const engine = models.engine.value;
  if (!engine) return;
  await engine.lora.remove(id);
  changes.value++;
  tell(t("adapters.gone", { name: id }));
  await forgetAdapter(await db, modelOf(engine), id);
}

/** A file with the path that it has in its folder; without one it stays as it is. */
const atPath = (file: File, path: string): File => (path === "" ? file : Object.defineProperty(file, "webkitRelativePath", { value: path }));

/** The files of what was dropped, those of folders with their paths. */
export async function filesOf(entries: readonly FileSystemEntry[]): Promise<File[]> {
  const files: File[] = [];
  for (const entry of entries) {
    if (entry.isFile) {
      const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
      files.push(atPath(file, entry.fullPath.slice(1)));
      continue;
    }
    const reader = (entry as FileSystemDirectoryEntry).createReader();
    for (;;) {
      // Some at a time.
      const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
      if (some.length === 0) break;
      files.push(...(await filesOf(some)));
    }
  }
  return files;
}
