/** Several conversations, files of them, models to choose from, and visits without a network. */

import { readFileSync } from "node:fs";
import type { Page } from "@playwright/test";
import { answers, answerText, beGreedy, expect, golden, kept, messageBox, MODEL_FILE, openReady, say, sendBytes, test, waitReady, whenWritten } from "../support.js";

const titles = (page: Page) => page.locator("#chat-list .chat-title");
const more = async (page: Page, title: string, action: string) => {
  await page.locator(`[aria-label="More for “${title}”"]`).click();
  await page.getByRole("menuitem", { name: action }).click();
};
/** The text of a file that the page offers. */
const saved = async (page: Page, act: () => Promise<void>) => {
  const [download] = await Promise.all([page.waitForEvent("download"), act()]);
  return { name: download.suggestedFilename(), text: readFileSync(await download.path(), "utf8") };
};

test("several conversations: open, rename, delete, undo; saved, brought back; another tab sees them", async ({ page, site, context }) => {
  await page.setViewportSize({ width: 1300, height: 800 });
  const address = await site.start();
  await openReady(page, address);
  await beGreedy(page);
  const [capital, sum] = [golden("capital"), golden("sum")];
  await say(page, capital.messages[0]!.content);
  await answerText(page, 0);
  await page.getByRole("button", { name: "New chat" }).first().click();
  await say(page, sum.messages[0]!.content);
  await answerText(page, 0);
  await expect(titles(page)).toHaveText([sum.messages[0]!.content, capital.messages[0]!.content]);

  await titles(page).nth(1).click();
  expect(await answerText(page, 0)).toBe(capital.answer);
  await expect(titles(page).nth(1)).toHaveAttribute("aria-current", "true");
  await say(page, "What is the capital of France?");
  expect(await answerText(page, 1), "the conversation goes on").toContain("Paris");
  await expect(titles(page).first(), "the one that was used last is first").toHaveText(capital.messages[0]!.content);

  await more(page, capital.messages[0]!.content, "Rename");
  await page.getByRole("textbox", { name: "Title of the chat" }).fill("Capitals");
  await page.keyboard.press("Enter");
  await expect(titles(page).first()).toHaveText("Capitals");

  const markdown = await saved(page, () => more(page, "Capitals", "Save as Markdown"));
  expect(markdown.name).toBe("Capitals.md");
  expect(markdown.text).toContain(`# Capitals\n\n**You:**\n\n${capital.messages[0]!.content}\n\n**Peregrine:**\n\n${capital.answer.trim()}\n`);
  const all = await saved(page, () => page.getByRole("button", { name: "Export all" }).click());

  const other = await context.newPage();
  await other.setViewportSize({ width: 1300, height: 800 });
  await other.goto(address);
  await expect(titles(other)).toHaveCount(2);
  await more(page, sum.messages[0]!.content, "Delete");
  // Otherwise it goes by itself.
  await page.locator("#toast").hover();
  await expect(titles(page)).toHaveText(["Capitals"]);
  await expect(titles(other), "the other tab sees it").toHaveText(["Capitals"]);
  await other.close();
  await page.getByRole("button", { name: "Undo" }).click();
  await expect(titles(page)).toHaveCount(2);
  await more(page, "Capitals", "Delete");
  await expect(answers(page), "the page is empty when its chat is deleted").toHaveCount(0);
  await more(page, sum.messages[0]!.content, "Delete");
  await expect(titles(page)).toHaveCount(0);
  await expect(page.locator("#no-chats")).toBeVisible();

  const bring = (name: string, text: string) => page.locator("#chats-file").setInputFiles({ name, mimeType: "application/json", buffer: Buffer.from(text) });
  await bring("bad.json", "{");
  await expect(page.locator("#toast")).toContainText("not JSON");
  await bring("other.json", '{"format":"something"}');
  await expect(page.locator("#toast")).toContainText("no chats");
  await bring("damaged.json", all.text.replace('"role": "user"', '"role": "ghost"'));
  await expect(page.locator("#toast")).toContainText("is damaged");
  await expect(titles(page)).toHaveCount(0);
  await bring(all.name, all.text);
  await expect(titles(page)).toHaveText(["Capitals", sum.messages[0]!.content]);
  await titles(page).first().click();
  await expect(answers(page)).toHaveCount(2);
});

test("leaving a chat in the middle of an answer keeps what was written", async ({ page, site }) => {
  await page.setViewportSize({ width: 1300, height: 800 });
  await openReady(page, await site.start());
  await beGreedy(page);
  const story = golden("story");
  const left = whenWritten(page, "fox named", "new-chat");
  await say(page, story.messages[0]!.content);
  await left;
  await expect(answers(page)).toHaveCount(0);
  await titles(page).first().click();
  await expect(answers(page).first()).toContainText("Stopped");
  const part = await answerText(page, 0);
  expect(story.answer.startsWith(part)).toBe(true);
  await page.getByRole("button", { name: "Answer again" }).click();
  expect((await answerText(page, 0)).startsWith(story.answer)).toBe(true);
});

test("a question is edited: the new branch goes on, the old one stays", async ({ page, site }) => {
  await page.setViewportSize({ width: 1300, height: 800 });
  await openReady(page, await site.start());
  await beGreedy(page);
  await say(page, golden("capital").messages[0]!.content);
  await answerText(page, 0);
  await say(page, "What is the capital of France?");
  await answerText(page, 1);
  await page.locator("article.user").nth(1).hover();
  await page.locator("article.user").nth(1).getByRole("button", { name: "Edit" }).click();
  const editor = page.getByRole("textbox", { name: "Edit message" });
  await expect(editor).toHaveValue("What is the capital of France?");
  await expect(editor).toBeFocused();
  await expect(answers(page), "nothing goes while one edits").toHaveCount(2);
  await editor.fill("What is 7 plus 5?");
  await editor.press("Enter");
  await expect(page.locator("article.user .body").nth(1)).toHaveText("What is 7 plus 5?");
  expect(await answerText(page, 1)).toContain("12");
  await expect(titles(page), "a branch of the same chat").toHaveCount(1);
  await page.locator("article.user").nth(1).getByRole("button", { name: "Earlier version" }).click();
  await expect(answers(page).nth(1)).toContainText("Paris");
});

test("what is sent right after a click on another chat is that chat's", async ({ page, site }) => {
  await page.setViewportSize({ width: 1300, height: 800 });
  await openReady(page, await site.start());
  await beGreedy(page);
  await say(page, golden("capital").messages[0]!.content);
  await answerText(page, 0);
  await page.getByRole("button", { name: "New chat" }).first().click();
  await say(page, golden("sum").messages[0]!.content);
  await answerText(page, 0);
  // At once, so that the chat cannot be there yet.
  await page.evaluate(() => {
    document.querySelectorAll<HTMLElement>("#chat-list .chat-title")[1]!.click();
    document.querySelector<HTMLTextAreaElement>("#prompt")!.value = "What is the capital of France?";
    document.querySelector<HTMLFormElement>("#composer")!.requestSubmit();
  });
  expect(await answerText(page, 1)).toContain("Paris");
  await expect(answers(page).first()).toHaveText(/Rome/);
  await titles(page).nth(1).click();
  await expect(answers(page).first()).toContainText("12");
  await expect(answers(page)).toHaveCount(1);
});

test("a conversation goes on after a reload, and after another one, without being read again", async ({ page, site }) => {
  await page.setViewportSize({ width: 1300, height: 800 });
  await openReady(page, await site.start());
  await beGreedy(page);
  const [capital, sum] = [golden("capital"), golden("sum")];
  await say(page, capital.messages[0]!.content);
  await answerText(page, 0);
  const states = async () => (await kept(page, "states")).length;
  await expect.poll(states).toBe(1);
  await page.reload();
  await waitReady(page);
  await say(page, "What is the capital of France?");
  expect(await answerText(page, 1)).toContain("Paris");
  const read = async (index: number) => {
    const [cached, all] = (await answers(page).nth(index).locator(".meta span").getAttribute("title"))!.match(/\d+/g)!.map(Number);
    return { cached: cached!, all: all! };
  };
  const after = await read(1);
  expect(after.cached, "what was read before the reload").toBeGreaterThanOrEqual(capital.prompt_ids.length);
  expect(after.cached).toBeLessThan(after.all);

  await expect.poll(states).toBe(1);
  await page.getByRole("button", { name: "New chat" }).first().click();
  await say(page, sum.messages[0]!.content);
  expect(await answerText(page, 0)).toBe(sum.answer);
  expect((await read(0)).cached).toBe(0);
  await titles(page).nth(1).click();
  await expect(answers(page).nth(1)).toContainText("Paris");
  await say(page, "What is 7 plus 5?");
  expect(await answerText(page, 2)).toContain("12");
  expect((await read(2)).cached, "what was read before the other chat").toBeGreaterThanOrEqual(after.all);
});

test("a large state is written when the conversation pauses, or another one begins", async ({ page, site }) => {
  await openReady(page, await site.start());
  await beGreedy(page);
  await page.evaluate(() => {
    // No state of the embedded model is large: their size is told to be.
    Object.defineProperty(Blob.prototype, "size", { get: () => 65e6 });
    // The pause of ten seconds is over when the test says so.
    const { setTimeout, clearTimeout } = window;
    const held = new Map<number, () => void>();
    let last = 0;
    window.setTimeout = ((call: () => void, milliseconds?: number, ...values: unknown[]) => {
      if (milliseconds !== 10_000) return setTimeout(call, milliseconds, ...values);
      held.set(--last, call);
      return last;
    }) as typeof window.setTimeout;
    window.clearTimeout = (id) => void (held.delete(id as number) || clearTimeout(id));
    Object.assign(window, { pauseIsOver: () => held.forEach((call, id) => held.delete(id) && call()) });
  });
  const written = async () => (await kept<{ updated: number }>(page, "states")).map(({ updated }) => updated).sort();
  const [capital, sum] = [golden("capital"), golden("sum")];
  await say(page, capital.messages[0]!.content);
  await answerText(page, 0);
  await expect.poll(async () => (await written()).length, "the first, of which nobody knew").toBe(1);
  const first = await written();
  await say(page, "What is the capital of France?");
  await answerText(page, 1);
  expect(await written(), "not after each answer").toEqual(first);
  await page.evaluate(() => (window as unknown as { pauseIsOver: () => void }).pauseIsOver());
  await expect.poll(written).not.toEqual(first);
  const second = await written();
  await say(page, "What is 7 plus 5?");
  await answerText(page, 2);
  await page.getByRole("button", { name: "New chat" }).first().click();
  await say(page, sum.messages[0]!.content);
  expect(await answerText(page, 0)).toBe(sum.answer);
  await expect.poll(async () => (await written()).length).toBe(2);
  expect((await written())[0], "the one that was left, before the other began").toBeGreaterThan(second[0]!);
});

test.describe(() => {
  test.use({ serviceWorkers: "allow" });

  test("a newer version of the page is offered, and taken as a whole", async ({ page, site }) => {
    let newer = false;
    const address = await site.start((request, response) => {
      if (request.url !== "/sw.js") return false;
      const worker = readFileSync(new URL("../../chat/dist/sw.js", import.meta.url), "utf8");
      return sendBytes(request, response, "text/javascript", Buffer.from(newer ? worker.replace(/"version":"\w+"/, '"version":"newer"') : worker));
    });
    await openReady(page, address);
    await page.evaluate(() => navigator.serviceWorker.ready);
    await page.reload();
    await waitReady(page);
    newer = true;
    await page.evaluate(async () => (await navigator.serviceWorker.ready).update());
    await expect(page.locator("#toast")).toContainText("newer version");
    expect(await page.evaluate(() => caches.keys())).toHaveLength(2);
    await page.getByRole("button", { name: "Reload" }).click();
    await expect.poll(() => page.evaluate(() => caches.keys()).catch(() => [])).toEqual(["peregrine-newer"]);
    await waitReady(page);
  });
});

test("the list is a drawer on a phone; Escape closes it", async ({ page, site }) => {
  await page.setViewportSize({ width: 390, height: 700 });
  await openReady(page, await site.start());
  await expect(page.locator("#chats")).toBeHidden();
  await page.getByRole("button", { name: "Chats" }).click();
  await expect(page.locator("#chats")).toBeVisible();
  await expect(page.locator("#no-chats")).toBeVisible();
  await page.keyboard.press("Escape");
  await expect(page.locator("#chats")).toBeHidden();
});

test("a browser that keeps nothing: the page works, and says so", async ({ page, site }) => {
  await page.addInitScript(() => {
    IDBFactory.prototype.open = () => {
      throw new DOMException("not here", "SecurityError");
    };
  });
  await page.setViewportSize({ width: 1300, height: 800 });
  await openReady(page, await site.start());
  await beGreedy(page);
  await say(page, golden("capital").messages[0]!.content);
  expect(await answerText(page, 0)).toBe(golden("capital").answer);
  await expect(page.locator("#no-chats")).toContainText("keep nothing");
});

test("a model by its address: downloaded, stopped, gone on with, stored, listed, deleted", async ({ page, site }) => {
  const model = readFileSync(MODEL_FILE);
  let slow = true;
  const address = await site.start((request, response) => {
    if (!request.url?.startsWith("/big.gguf")) return false;
    if (!slow) return sendBytes(request, response, "application/octet-stream", model);
    // A trickle: it is stopped before it ends.
    const first = Number(/bytes=(\d+)-/.exec(request.headers.range ?? "")?.[1]);
    response.writeHead(206, { "Content-Range": `bytes ${first}-${model.length - 1}/${model.length}`, ETag: '"x"' });
    let at = first;
    // It goes on, so that the card is drawn anew, and does not end.
    const timer = setInterval(() => response.write(model.subarray(at, (at += at - first < 600_000 ? 50_000 : 1))), 50);
    response.on("close", () => clearInterval(timer));
    return true;
  });
  await openReady(page, address);
  const chip = page.locator("#model-chip");
  await chip.click();
  await expect(page.locator("#offers li")).toHaveCount(7);
  await page.getByRole("textbox", { name: "Another model" }).fill("/big.gguf");
  await page.keyboard.press("Enter");
  await expect(page.locator("#status.loading")).toContainText(/[1-9][\d.]* MB of 18\.6 MB are here, .* a second/);
  // The page can be used before the model is there.
  await messageBox(page).fill("What I want to ask");
  await page.getByRole("button", { name: "Settings" }).click();
  await page.getByRole("slider", { name: "Temperature" }).fill("0.2");
  await page.getByRole("button", { name: "Close settings" }).click();
  await expect(messageBox(page)).toHaveValue("What I want to ask");
  await messageBox(page).fill("");
  await page.getByRole("button", { name: "Stop loading" }).click();
  await expect(page.locator("#status.failed")).toContainText("Loading was stopped");

  await chip.click();
  await expect(page.locator("#stored li")).toContainText("goes on when used");
  await page.getByRole("button", { name: "Close models" }).click();
  slow = false;
  // What the server calls another version is another file; the trickle had its own name for it.
  await page.getByRole("button", { name: "Go on loading" }).click();
  await expect(page.locator("#status"), "the demo answers until the other one is there").toBeHidden({ timeout: 120_000 });
  await page.reload();
  await waitReady(page);
  await chip.click();
  await expect(page.locator("#stored li"), "the model is remembered, and stored").toContainText("/big.gguf");
  await expect(page.locator("#stored li")).toContainText("18.6 MB");
  await expect(page.locator("#storage")).toContainText(/MB are used/);
  await page.getByRole("button", { name: /^Delete: / }).click();
  await expect(page.locator("#stored-part")).toBeHidden();
  await expect(page.locator("#storage-note")).toContainText("was deleted");
  await page.getByRole("button", { name: "Use: Demo, comes with the page" }).click();
  await expect(page.locator("#toy-note")).toBeVisible();
});

test.describe(() => {
  test.use({ serviceWorkers: "allow" });

  test("a visit without a network: the page, the model, the conversation", async ({ page, site, context }) => {
    await openReady(page, await site.start());
    await page.evaluate(() => navigator.serviceWorker.ready);
    await beGreedy(page);
    await say(page, golden("capital").messages[0]!.content);
    await answerText(page, 0);
    await context.setOffline(true);
    await page.reload();
    await waitReady(page);
    await expect(answers(page)).toHaveCount(1);
    await messageBox(page).focus();
    await page.locator("#new-chat").click();
    await say(page, golden("sum").messages[0]!.content);
    expect(await answerText(page, 0)).toBe(golden("sum").answer);
  });
});
