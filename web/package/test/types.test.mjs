import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const folder = fileURLToPath(new URL("..", import.meta.url));
const compilers = {
  5.6: join(folder, "test/types/node_modules/typescript-5/bin/tsc"),
  6: join(folder, "test/types/node_modules/typescript-6/bin/tsc"),
  7: join(folder, "../node_modules/typescript/bin/tsc"),
};

const USE = `
  const engine = await createEngine({ model: new Uint8Array(4), contextLength: 100, logLevel: "info", logger: console });
  const reply = await engine.chat.completions.create({ messages: [{ role: "user", content: "x" }] });
  const text: string = reply.choices[0]!.message.content ?? "";
  const rows: Float32Array = await engine.logits([1, 2]);
  try { await createEngine({ model: new Response() }); } catch (error) {
    if (error instanceof PeregrineError) console.log(error.code, error.advice, JSON.stringify(error));
  }
  const name: string = engine.info.device.name;
  const end: () => void = engine.on("device-lost", ({ error }) => console.log(error.code));
  engine.on("reloaded", ({ info }) => console.log(info.memory.needed, name, end));
  const either = await createEngine({ model: "a/b", server: { baseURL: "https://x/v1", model: "m", when: ["no-device"] }, onWhere: async (info) => info.where === "device" });
  either.on("where", (info) => console.log(info.where === "server" ? info.address : info.device.name));
  console.log(either.info.where === "server" ? either.info.reason : either.info.device.name, either.info.model.name);
  await engine[Symbol.asyncDispose]();
  console.log(text, rows.length);`;
const SOURCES = {
  "esm.mts": `import { createEngine, PeregrineError } from "peregrine";\nimport "peregrine/embedded";\nimport { listModels } from "peregrine/download";\nvoid listModels;\nimport "peregrine/worker";\nimport * as service from "peregrine/service-worker";\nasync function use() {${USE}\n}\nvoid use; void service.createEngine;\n`,
  "commonjs.cts": `import { createEngine, PeregrineError } from "peregrine";\nimport peregrine = require("peregrine");\nimport "peregrine/embedded";\nimport { listModels } from "peregrine/download";\nvoid listModels;\nimport "peregrine/worker";\nimport service = require("peregrine/service-worker");\nasync function use() {${USE}\n}\nvoid use; void peregrine.listModels; void service.createEngine;\n`,
};

/** What that compiler says of these sources, the package's own types not left out. */
async function complaints(compiler, sources, options) {
  // Within the package, so that \`peregrine\` is the package itself.
  const temporary = await mkdtemp(join(folder, "types-"));
  try {
    await Promise.all(Object.entries(sources).map(([name, source]) => writeFile(join(temporary, name), source)));
    const compilerOptions = { noEmit: true, strict: true, skipLibCheck: false, lib: ["ES2023", "DOM"], types: [], target: "ES2022", ...options };
    await writeFile(join(temporary, "tsconfig.json"), JSON.stringify({ compilerOptions, files: Object.keys(sources) }));
    await promisify(execFile)(process.execPath, [compiler, "-p", temporary], { encoding: "utf8" });
    return "";
  } catch (error) {
    return error.stdout || String(error);
  } finally {
    await rm(temporary, { recursive: true });
  }
}

for (const [version, compiler] of Object.entries(compilers)) {
  test(`the types in TypeScript ${version}: libraries checked, ES2023, as an ES module, as CommonJS, for bundlers`, async () => {
    const modules = { module: "NodeNext", moduleResolution: "NodeNext" };
    const odd = `import { createEngine } from "peregrine";
      void createEngine({ model: "a/b", contextLenght: 5 });
      const engine = await createEngine({ model: "a/b", server: { baseURL: "https://x/v1", model: "m" } });
      engine.info.device;
      engine.on("lost", () => {});
      engine.on("where", ({ error }) => error);
      void createEngine({ model: "a/b", server: { baseURL: "https://x/v1", model: "m", when: ["no-devise"] } });`;
    const [files, bundled, said] = await Promise.all([
      complaints(compiler, SOURCES, modules),
      complaints(compiler, { "app.ts": SOURCES["esm.mts"] }, { module: "ESNext", moduleResolution: "Bundler" }),
      complaints(compiler, { "odd.mts": odd }, modules),
    ]);
    assert.deepEqual([files, bundled], ["", ""]);
    assert.match(said, /contextLenght/);
    for (const line of [2, 4, 5, 6, 7]) assert.match(said, new RegExp(`odd\\.mts\\(${line},`));
  });
}
