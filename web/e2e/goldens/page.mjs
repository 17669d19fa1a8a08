// The goldens in a page whose server gives out the repository.

import { createEngine } from "/web/package/dist/index.js";
import { run } from "./harness.mjs";

const read = async (path) => {
  const response = await fetch(`/${path}`);
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response.arrayBuffer();
};

/** Reads all of the plan in this page, each model in a worker of its own. */
export const runHere = (plan) => run({ createEngine, options: {}, read, log: (line) => console.log(line) }, plan);
