/**
 * LoRA adapters that a person gives. Loaded with the first file that may be one, or the dialog for
 * models.
 */

import { signal } from "@preact/signals";
import { t } from "../i18n/index.js";
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

/** The adapter among these files: all of a folder of PEFT, or a GGUF file. */
async function adapterOf(files: readonly File[]): Promise<readonly File[] | undefined> {
  if (files.some(({ name }) => name === "adapter_config.json")) return files;
  for (const file of files) if (/\.gguf$/i.test(file.name) && (await isAdapter(file))) return [file];
  return undefined;
}

/** Loads the adapter among these files beside the model. Whether there was one. */
export async function takeAdapter(models: Models, files: readonly File[]): Promise<boolean> {
  const found = await adapterOf(files);
  if (!found) return false;
  try {
    const engine = models.engine.value;
    if (!engine) throw new Error(t("models.none"));
    const { id } = await engine.lora.load(found);
    changes.value++;
    tell(t("adapters.loaded", { name: id }));
  } catch (error) {
    tell(t("adapters.failed", { why: asOurs(error).message }));
  }
  return true;
}

/** Forgets an adapter. */
export async function removeAdapter(models: Models, id: string): Promise<void> {
  await models.engine.value?.lora.remove(id);
  changes.value++;
  tell(t("adapters.gone", { name: id }));
}

/** The files of what was dropped, those of folders with their paths. */
export async function filesOf(entries: readonly FileSystemEntry[]): Promise<File[]> {
  const files: File[] = [];
  for (const entry of entries) {
    if (entry.isFile) {
      const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
      files.push(Object.defineProperty(file, "webkitRelativePath", { value: entry.fullPath.slice(1) }));
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
