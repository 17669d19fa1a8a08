// The goldens in a page whose server gives out the repository.

import { createEngine } from "/web/package/dist/index.js";
import { differences } from "./compilers.mjs";
import { run } from "./harness.mjs";

const read = async (path) => {
  const response = await fetch(`/${path}`);
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response.arrayBuffer();
};

/**
 * Runs the small programs and reads all of the plan in this page, each model in a worker of its
 * own, `lanes` of them at a time.
 */
export async function runHere(plan, lanes = 1) {
  const compiler = await differences(navigator.gpu);
  const rows = await run({ createEngine, options: {}, read, log: (line) => console.log(line), lanes }, plan);
  return { compiler, rows };
}
