/**
 * Every snippet of the package's README, as it stands there; only the gigabyte model is replaced by
 * the embedded one.
 */

import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { loraGguf } from "../gguf.js";
import { expect, sendBytes, test } from "../support.js";

const FOLDER = fileURLToPath(new URL("../../../tests/golden/hf-folder", import.meta.url));
const README = readFileSync(new URL("../../package/README.md", import.meta.url), "utf8");
/** As the compiler leaves it. */
const untyped = (code: string) => code.replaceAll(/ as const;/g, ";");
const snippets = [...README.matchAll(/^```ts\n(.*?)^```$/gms)].map(([, code]) => untyped(code as string));

test("the README has snippets", () => {
  expect(snippets.length).toBeGreaterThanOrEqual(5);
});

snippets.forEach((snippet, i) => {
  test(`snippet ${i + 1} of the README`, async ({ page, site }) => {
    const adapter = loraGguf();
    const address = await site.bare((request, response) => {
      const { url = "" } = request;
      if (url === "/adapters/poems.gguf") return sendBytes(request, response, "application/octet-stream", adapter);
      const file = /^\/models\/My-H1\/([\w.-]+)$/.exec(url)?.[1];
      return file !== undefined && existsSync(`${FOLDER}/${file}`) && sendBytes(request, response, "application/octet-stream", readFileSync(`${FOLDER}/${file}`));
    });
    // The bundler's part: where the package is.
    const code = snippet
      .replaceAll('"tiiuae/Falcon-H1-0.5B-Instruct-GGUF:Q4_K_M"', '"/model.gguf"')
      .replaceAll('from "peregrine/download"', 'from "/package/dist/download.js"')
      .replaceAll('from "peregrine"', 'from "/package/dist/index.js"')
      .replaceAll('import "peregrine/embedded"', 'import "/package/dist/embedded.js"');
    const logged: string[] = [];
    page.on("console", (message) => logged.push(message.text()));
    const failed: Error[] = [];
    page.on("pageerror", (error) => failed.push(error));
    await page.goto(address);
    // The snippets have no types of their own, so they run as they are; that their types fit is a
    // test of the package.
    const script = `${code}\nglobalThis.finished = true;`;
    await page.evaluate((text) => {
      const element = document.createElement("script");
      element.type = "module";
      element.textContent = text;
      document.head.append(element);
    }, script);
    const ended = () => page.evaluate(() => (globalThis as { finished?: boolean }).finished ?? false);
    await expect.poll(async () => failed.length > 0 || (await ended()), { timeout: 120_000 }).toBe(true);
    expect(failed).toEqual([]);
    expect(logged.length, "it prints something").toBeGreaterThan(0);
  });
});
