/**
 * Documents after they were sent, and what comes from other apps or from a microphone: as a person
 * does it.
 */

import type { Page } from "@playwright/test";
import { fakeEngine, READS, step } from "../fake.js";
import { answers, expect, kept, messageBox, openReady, say, sendBytes, test, waitReady } from "../support.js";

const chips = (page: Page) => page.locator(".attached li");
const done = (page: Page, index: number) => expect(answers(page).nth(index).getByRole("button", { name: "Copy", exact: true })).toBeVisible({ timeout: 200_000 });
const attach = (page: Page, name: string, text: string) => page.locator("#documents").setInputFiles({ name, mimeType: "text/plain", buffer: Buffer.from(text) });

test.use({ viewport: { width: 1300, height: 800 } });

/** Speech as a browser has it that does it on the device. */
function speech(): void {
  const said: string[] = [];
  class SpeechRecognition {
    onresult?: (event: unknown) => void;
    onend?: () => void;
    static available = async () => "available";
    get processLocally() {
      return false;
    }
    set processLocally(_: boolean) {}
    start() {
      const result = Object.assign([{ transcript: "live in the reeds?" }], { isFinal: true });
      queueMicrotask(() => this.onresult?.({ resultIndex: 0, results: [result] }));
    }
    stop() {
      this.onend?.();
    }
  }
  const voice = { lang: "en-GB", localService: true, default: true, name: "Voice" };
  const speechSynthesis = { getVoices: () => [voice], speak: ({ text }: { text: string }) => void said.push(text), cancel: () => void said.push("cancelled"), addEventListener() {} };
  const SpeechSynthesisUtterance = class {
    constructor(readonly text: string) {}
  };
  for (const [name, value] of Object.entries({ SpeechRecognition, speechSynthesis, SpeechSynthesisUtterance, said })) {
    Object.defineProperty(window, name, { value, configurable: true });
  }
}

test("a sent document: the other choice asks again as a version, it is used again; words are dictated, the answer read aloud", async ({ page, site }) => {
  await page.addInitScript(speech);
  await openReady(page, await site.start(fakeEngine()));
  const paragraphs = Array.from({ length: 12 }, (_, i) => `Paragraph ${i} is about ${i === 7 ? "herons" : "nothing much"}. ${"It goes on. ".repeat(20)}`);
  await attach(page, "birds.txt", paragraphs.join("\n\n"));
  await expect(chips(page)).toContainText("tokens");
  await messageBox(page).fill("Where do herons");
  await page.getByRole("button", { name: "Attach documents" }).click({ trial: true });
  await page.getByRole("button", { name: "Dictate" }).click();
  await expect(messageBox(page)).toHaveValue("Where do herons live in the reeds?");
  await page.getByRole("button", { name: "Stop dictating" }).click();
  await messageBox(page).press("Enter");
  await done(page, 0);
  const choice = page.getByRole("combobox", { name: "What is read of birds.txt" });
  await expect(choice).toHaveValue("whole");
  await choice.selectOption("passages");
  await expect(choice).toHaveValue("passages");
  await done(page, 0);
  await expect(page.locator("article.user .versions")).toContainText("2/2");
  await expect(page.locator("details.document summary")).toContainText(/birds\.txt \(\d+ of \d+ passages\)/);
  await expect(answers(page)).toContainText("Paragraph 7 is about herons");
  await page.getByRole("button", { name: "Earlier version" }).first().click();
  await expect(choice).toHaveValue("whole");
  await page.getByRole("button", { name: "Use birds.txt in the next question" }).click();
  // Counted: nothing moves any more. A button that moves under the mouse is not clicked.
  await expect(chips(page)).toContainText(/birds\.txt.*\d tokens/s);
  await expect(messageBox(page)).toBeFocused();

  await page.getByRole("button", { name: "Read aloud" }).click();
  await page.getByRole("button", { name: "Stop reading aloud" }).click();
  const said = await page.evaluate(() => (window as unknown as { said: string[] }).said);
  expect(said[0]).toMatch(/^Answer \d+ to/);
  expect(said.at(-1)).toBe("cancelled");
});

test("no microphone and no voices on the device: no buttons for them", async ({ page, site }) => {
  await page.addInitScript(() => {
    Object.defineProperty(window, "SpeechRecognition", { value: undefined, configurable: true });
    Object.defineProperty(window, "speechSynthesis", { value: { getVoices: () => [{ lang: "en", localService: false }], addEventListener() {} }, configurable: true });
  });
  await openReady(page, await site.start(fakeEngine()));
  await say(page, "Hello");
  await done(page, 0);
  await expect(page.getByRole("button", { name: "Dictate" })).toHaveCount(0);
  await expect(page.getByRole("button", { name: "Read aloud" })).toHaveCount(0);
});

test("a reading that a reload interrupts says so, and is gone on with", async ({ page, site }) => {
  await openReady(page, await site.start(fakeEngine(READS)));
  await attach(page, "long.txt", "The heron stands in the reeds. ".repeat(60));
  await expect(chips(page)).toContainText("tokens");
  await say(page, "Which bird? [say A heron.]");
  const bar = page.getByRole("progressbar", { name: "Reading before the answer" });
  await expect(bar).toHaveAttribute("value", "0");
  await step(page);
  await expect(bar).toHaveAttribute("value", "512");
  await expect.poll(async () => (await kept<{ reading?: object }>(page, "messages")).some(({ reading }) => reading), "it is noted").toBe(true);
  await page.reload();
  await waitReady(page);
  await expect(page.locator(".unanswered")).toContainText(/Reading was interrupted when the page was closed: 0 of 1,\d\d\d tokens are kept/);
  await page.getByRole("button", { name: "Go on reading" }).click();
  await expect(bar).toBeVisible();
  await expect(async () => {
    await step(page);
    expect(await bar.count()).toBe(0);
  }).toPass();
  await done(page, 0);
  await page.reload();
  await done(page, 0);
});

test("a document is read once: another chat, after a reload, starts behind it", async ({ page, site }) => {
  // The real engine, whose tokens are not letters: short answers, for it is slow without a GPU.
  await page.addInitScript(() => localStorage.setItem("peregrine.settings", JSON.stringify({ maxTokens: 4 })));
  await openReady(page, await site.start());
  const document = Array.from({ length: 48 }, (_, i) => `Line ${i}: the heron stands in the reeds and waits for fish.`).join("\n");
  await attach(page, "long.txt", document);
  await expect(chips(page)).toContainText("tokens");
  await say(page, "Which bird?");
  await done(page, 0);
  await expect(answers(page)).not.toContainText("not read again");
  await page.reload();
  await waitReady(page);
  await page.getByRole("button", { name: "New chat" }).first().click();
  await attach(page, "long.txt", document);
  await expect(chips(page)).toContainText("tokens");
  await say(page, "Hello! What is it about?");
  await done(page, 0);
  await expect(answers(page)).toContainText(/The document was not read again: 1,\d\d\d of 1,\d\d\d tokens were remembered/);
});

test.describe(() => {
  test.use({ serviceWorkers: "allow" });

  test("what another app shares, files too, stands beside the box of a new chat, once", async ({ page, site }) => {
    const fake = fakeEngine();
    const form = `<!doctype html><form method="post" enctype="multipart/form-data" action="/share"><input name="title" value="Herons"><input name="text" value="Where do they live?"><input name="url" value=""><input type="file" name="files" multiple><button>Share</button></form>`;
    const address = await site.start((request, response) => (request.url === "/other" && sendBytes(request, response, "text/html", Buffer.from(form))) || fake(request, response));
    await openReady(page, address);
    await page.evaluate(() => navigator.serviceWorker.ready);
    await page.goto(new URL("/other", address).href);
    await page.locator("input[type=file]").setInputFiles([
      { name: "notes.txt", mimeType: "text/plain", buffer: Buffer.from("The heron stands in the reeds.") },
      { name: "model.gguf", mimeType: "application/octet-stream", buffer: Buffer.from("GGUF, and no more") },
    ]);
    await page.getByRole("button", { name: "Share" }).click();
    await waitReady(page);
    await expect(messageBox(page)).toHaveValue("Herons\nWhere do they live?");
    await expect(chips(page)).toHaveText([/notes\.txt\d+ tokens/]);
    await expect(page.locator("#toast"), "nothing that is shared takes the model's place").toContainText("model.gguf is a model");
    await expect(page.locator("#chip-model")).toHaveText("Fake Model");
    expect(page.url()).not.toContain("shared");
    await say(page, "Which bird?");
    await done(page, 0);
    await expect(answers(page), "the model has read it").toContainText("The heron stands in the reeds");
    expect(await page.evaluate(async () => (await (await caches.open("shared-peregrine")).keys()).length)).toBe(0);
    await page.goto(new URL("/?shared=gone", address).href);
    await expect(page.locator("#toast")).toContainText("has not arrived here");
    const manifest = await page.evaluate(async () => (await fetch(document.querySelector<HTMLLinkElement>("link[rel=manifest]")!.href)).json());
    expect(manifest.share_target).toMatchObject({ action: "./share", method: "POST", enctype: "multipart/form-data" });
    const sizes = await page.evaluate(async (icons: { src: string; sizes: string; type: string }[]) => {
      const found = [];
      for (const { src, sizes, type } of icons.filter(({ type }) => type === "image/png")) {
        const { width, height } = await createImageBitmap(await (await fetch(src)).blob());
        found.push(`${width}x${height}` === sizes && type === "image/png");
      }
      return found;
    }, manifest.icons);
    expect(sizes).toEqual([true, true, true]);
  });
});
