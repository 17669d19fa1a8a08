/** Files that a person gave. */

import { makeError, PeregrineError } from "../errors.js";

/** One of them. */
export interface Given {
  name: string;
  /** With the folders that it lies in, from the one on that was given. */
  path: string;
  blob: Blob;
}

/**
 * The files that lie in a folder, and in those folders in it that `enters` names; `field` is what
 * errors call it.
 */
export async function filesIn(folder: FileSystemDirectoryHandle, field: string, ...enters: string[]): Promise<Given[]> {
  const files: Given[] = [];
  const add = async (inside: FileSystemDirectoryHandle, path: string): Promise<void> => {
    for await (const [name, handle] of inside.entries()) {
      if (handle.kind === "directory") {
        if (enters.includes(name)) await add(handle as FileSystemDirectoryHandle, `${path}${name}/`);
        continue;
      }
      try {
        files.push({ name, path: path + name, blob: await (handle as FileSystemFileHandle).getFile() });
      } catch (cause) {
        throw makeError("io", `${field}: ${folder.name}/${path}${name} cannot be opened: ${(cause as Error).message}`, { cause });
      }
    }
  };
  try {
    await add(folder, "");
  } catch (cause) {
    if (cause instanceof PeregrineError) throw cause;
    // The person may have taken back the right to read it.
    throw makeError("io", `${field}: the folder ${folder.name} cannot be read: ${(cause as Error).message}`, { cause });
  }
  return files;
}
