// Whether Node is one that the tools take: `engines` of web/package.json says which. Ends with one
// line where it is not.

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const less = (a, b) => {
  const at = a.findIndex((part, i) => part !== b[i]);
  return at >= 0 && a[at] < b[at];
};

/**
 * Whether a version is in a range, as "^20.19.0 || >=22.12.0": all that is written in `engines`
 * here and in those of the tools.
 */
export function fits(version, range) {
  const found = version.split(".").map(Number);
  return range.split("||").some((part) => {
    const [, kind, ...wanted] = /^ *(\^|>=) *(\d+)(?:\.(\d+))?(?:\.(\d+))? *$/.exec(part) ?? [];
    if (!kind) throw new Error(`no range of versions: ${range}`);
    const least = wanted.map((digits) => Number(digits ?? 0));
    return !less(found, least) && (kind === ">=" || found[0] === least[0]);
  });
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const { node: range } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")).engines;
  if (!fits(process.versions.node, range)) {
    process.stderr.write(`error: this is Node.js ${process.versions.node}, and the tools need ${range}: install another from https://nodejs.org\n`);
    process.exit(1);
  }
}
