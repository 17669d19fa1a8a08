/**
 * Nobody's work is lost: every way in which it once was. With an engine that is played, so that the
 * moments are known.
 */

import { readFileSync } from "node:fs";
import type { Page } from "@playwright/test";
import { fakeEngine, release } from "../fake.js";
import { answers, expect, kept, messageBox, openReady, say, test, waitReady } from "../support.js";

const titles = (page: Page) => page.locator("#chat-list .chat-title");
const questions = (page: Page) => page.locator("article.user .body");
const done = (page: Page, index: number) => expect(answers(page).nth(index).getByRole("button", { name: "Copy", exact: true })).toBeVisible();
const version = (page: Page, of: string) => expect(page.locator(".versions small")).toHaveText(of);

test.use({ viewport: { width: 1300, height: 800 } });

test("a new answer that is stopped before its first word leaves the old one, the question and the draft", async ({ page, site }) => {
  await openReady(page, await site.start(fakeEngine()));
  await say(page, "One question [once]");
  await done(page, 0);
  const text = await answers(page).first().locator(".body").innerText();
  await messageBox(page).fill("a draft");
  await page.getByRole("button", { name: "Answer again" }).click();
  await expect(page.locator(".thinking")).toBeVisible();
  await page.keyboard.press("Escape");
  await expect(answers(page).first().locator(".body")).toHaveText(text);
  await expect(questions(page)).toHaveText(["One question [once]"]);
  await expect(messageBox(page)).toHaveValue("a draft");
  await page.reload();
  await expect(answers(page).first().locator(".body")).toHaveText(text);
  await expect(messageBox(page)).toHaveValue("a draft");
  await expect(titles(page)).toHaveCount(1);
});

test("a question that was stopped before the first word stays, and can be answered", async ({ page, site }) => {
  await openReady(page, await site.start(fakeEngine()));
  await say(page, "Say it [never]");
  await expect(page.locator(".thinking")).toBeVisible();
  await messageBox(page).fill("next");
  await page.keyboard.press("Escape");
  await expect(page.getByRole("button", { name: "Answer", exact: true })).toBeVisible();
  await expect(questions(page)).toHaveText(["Say it [never]"]);
  await expect(messageBox(page)).toHaveValue("next");
  await page.reload();
  await expect(questions(page)).toHaveText(["Say it [never]"]);
  await expect(page.getByRole("button", { name: "Answer", exact: true })).toBeVisible();
});

test("a click on another chat while an answer comes anew: both chats stay as they are", async ({ page, site }) => {
  await openReady(page, await site.start(fakeEngine()));
  await say(page, "First [never]");
  await page.keyboard.press("Escape");
  await page.locator("#new-chat-in-list").click();
  await say(page, "Second");
  await done(page, 0);
  await page.getByRole("button", { name: "Answer again" }).click();
  await titles(page).nth(1).click();
  await expect(questions(page)).toHaveText(["First [never]"]);
  await expect(messageBox(page)).toHaveValue("");
  await titles(page).nth(0).click();
  await expect(questions(page)).toHaveText(["Second"]);
  await expect(answers(page)).toHaveCount(1);
  await expect(titles(page)).toHaveCount(2);
});

test("two tabs of one chat: each sees the other's turns at once, none is erased", async ({ page, site, context }) => {
  await openReady(page, await site.start(fakeEngine()));
  await say(page, "From the first tab");
  await done(page, 0);
  const other = await context.newPage();
  await other.setViewportSize({ width: 1300, height: 800 });
  await openReady(other, page.url());
  await expect(questions(other)).toHaveText(["From the first tab"]);
  await say(other, "From the second tab [slow]");
  await expect(questions(page), "at once").toHaveText(["From the first tab", "From the second tab [slow]"]);
  await expect(answers(page).nth(1), "while it is written").toContainText("word5");
  await expect(answers(page).nth(1)).toContainText("another tab");
  await messageBox(page).fill("too early");
  await messageBox(page).press("Enter");
  await expect(page.locator("#toast")).toContainText("another tab");
  await other.getByRole("button", { name: "Stop the answer" }).click();
  await expect(answers(page).nth(1)).toContainText("Stopped");
  await messageBox(page).press("Enter");
  await done(page, 2);
  await expect(questions(other)).toHaveText(["From the first tab", "From the second tab [slow]", "too early"]);
  await other.getByRole("button", { name: "Answer again" }).click();
  await done(other, 2);
  await expect(other.locator(".versions small")).toHaveText("2/2");
  await expect(page.locator(".versions small"), "one stays where one is, and sees that there is another").toHaveText("1/2");
  await page.reload();
  await expect(questions(page)).toHaveCount(3);
  // A tab that is closed in the middle of an answer: the other goes on with it.
  await say(other, "Once more [slow]");
  await expect(answers(page).nth(3)).toContainText("word5");
  await other.close();
  await expect(answers(page).nth(3)).toContainText("Interrupted");
  await expect(page.getByRole("button", { name: "Continue" })).toBeVisible();
});

test("an older export takes nothing away, and the page says what it did", async ({ page, site }) => {
  await openReady(page, await site.start(fakeEngine()));
  await say(page, "One");
  await done(page, 0);
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Export all" }).click()]);
  const older = readFileSync(await download.path());
  for (const [i, text] of ["Two", "Three", "Four"].entries()) {
    await say(page, text);
    await done(page, i + 1);
  }
  await page.locator("#chats-file").setInputFiles({ name: "older.json", mimeType: "application/json", buffer: older });
  await expect(page.locator("#toast")).toContainText("1 was here already");
  await expect(questions(page)).toHaveText(["One", "Two", "Three", "Four"]);
  await expect(answers(page)).toHaveCount(4);
});

test("a reload in the middle of an answer: what was written is there, and goes on", async ({ page, site }) => {
  await openReady(page, await site.start(fakeEngine()));
  await say(page, "Tell it [slow]");
  // What is on the page is kept a little later.
  const words = async () => (await kept<{ content: string }>(page, "messages")).map(({ content }) => content).join();
  await expect.poll(words).toContain("word15");
  await page.reload();
  await expect(answers(page).first()).toContainText("word15");
  await expect(answers(page).first()).toContainText("Interrupted when the page was closed");
  await page.getByRole("button", { name: "Continue" }).click();
  await expect(answers(page).first(), "more comes behind it").toContainText(/word15[^]*Answer 1 to/);
  await done(page, 0);
  await expect(page.locator(".versions"), "it is the same answer").toHaveCount(0);
});

test("gone on with, or answered again, before the model is there: done when it is", async ({ page, site }) => {
  const address = await site.start(fakeEngine("self.hold = true;"));
  await page.goto(address);
  await release(page);
  await waitReady(page);
  await say(page, "Tell it [slow]");
  await expect.poll(async () => (await kept<{ content: string }>(page, "messages")).map(({ content }) => content).join()).toContain("word15");
  await page.reload();
  await page.getByRole("button", { name: "Continue" }).click();
  await release(page);
  await expect(answers(page).first(), "more comes behind it").toContainText(/word15[^]*Answer 1 to/);
  await done(page, 0);
  await page.reload();
  await page.getByRole("button", { name: "Answer again" }).click();
  await release(page);
  await expect(answers(page).first()).toContainText("word15");
  await page.keyboard.press("Escape");
  await version(page, "2/2");
});

test("what is asked behind an answer of another tab that ends without a word keeps its place", async ({ page, site }) => {
  await openReady(page, await site.start(fakeEngine()));
  await say(page, "One");
  await done(page, 0);
  await say(page, "Two [never]");
  const rows = () => kept<{ id: string; parent: string | null; role: string; content: string; ending?: string }>(page, "messages");
  await expect.poll(async () => (await rows()).some(({ ending }) => ending === "writing")).toBe(true);
  const all = await rows();
  const [question, open] = [all.find(({ content }) => content.startsWith("Two"))!, all.find(({ ending }) => ending === "writing")!];
  // As another tab writes it.
  await page.evaluate(async (row) => {
    const opening = indexedDB.open("peregrine");
    const db = await new Promise<IDBDatabase>((resolve) => (opening.onsuccess = () => resolve(opening.result)));
    const transaction = db.transaction("messages", "readwrite");
    transaction.objectStore("messages").add(row);
    await new Promise((resolve) => (transaction.oncomplete = resolve));
    db.close();
  }, { ...question, id: "behind", parent: open.id, content: "Three" });
  await page.keyboard.press("Escape");
  await expect.poll(async () => (await rows()).find(({ id }) => id === "behind")?.parent).toBe(question.id);
});

test("editing is a version beside the old one; Escape cancels; a reload opens where one was", async ({ page, site }) => {
  await openReady(page, await site.start(fakeEngine()));
  await say(page, "One");
  await done(page, 0);
  await say(page, "Two");
  await done(page, 1);
  const edit = async (index: number) => {
    await page.locator("article.user").nth(index).hover();
    await page.locator("article.user").nth(index).getByRole("button", { name: "Edit" }).click();
    await expect(page.getByRole("textbox", { name: "Edit message" })).toBeFocused();
  };
  await edit(0);
  await expect(answers(page), "nothing goes").toHaveCount(2);
  await page.getByRole("textbox", { name: "Edit message" }).fill("Something else");
  await page.keyboard.press("Escape");
  await expect(questions(page)).toHaveText(["One", "Two"]);
  await expect(messageBox(page)).toBeFocused();
  await edit(0);
  await page.getByRole("textbox", { name: "Edit message" }).fill("Another one");
  await page.reload();
  await expect(questions(page)).toHaveText(["One", "Two"]);
  await edit(0);
  await expect(page.getByRole("textbox", { name: "Edit message" }), "what was begun is kept").toHaveValue("Another one");
  await page.keyboard.press("Enter");
  await expect(questions(page)).toHaveText(["Another one"]);
  await done(page, 0);
  await version(page, "2/2");
  await expect(titles(page)).toHaveCount(1);
  await page.getByRole("button", { name: "Earlier version" }).click();
  await expect(questions(page)).toHaveText(["One", "Two"]);
  await expect(page.getByRole("button", { name: "Earlier version" }), "the focus stays").toBeFocused();
  const head = async () => {
    const [chat] = await kept<{ head: string }>(page, "chats");
    return (await kept<{ id: string; content: string }>(page, "messages")).find(({ id }) => id === chat?.head)?.content;
  };
  await expect.poll(head).toContain("to: Two");
  await page.reload();
  await expect(questions(page), "the branch that was read").toHaveText(["One", "Two"]);
});

test("drafts are kept chat by chat; what one types is sent as typed", async ({ page, site }) => {
  await openReady(page, await site.start(fakeEngine()));
  await messageBox(page).fill("  an unfinished");
  await page.reload();
  await expect(messageBox(page)).toHaveValue("  an unfinished");
  await messageBox(page).fill("    return x   ");
  await messageBox(page).press("Enter");
  await done(page, 0);
  expect(await questions(page).first().evaluate((body) => body.textContent)).toBe("    return x   ");
  await messageBox(page).fill("for the first");
  await page.locator("#new-chat-in-list").click();
  await expect(messageBox(page)).toHaveValue("");
  await messageBox(page).fill("for a new one");
  await titles(page).first().click();
  await expect(messageBox(page)).toHaveValue("for the first");
  await page.locator("#new-chat-in-list").click();
  await expect(messageBox(page)).toHaveValue("for a new one");
  await messageBox(page).fill(" \n ");
  await messageBox(page).press("Enter");
  await expect(questions(page), "nothing but spaces is no message").toHaveCount(0);
});

test("each chat has an address; Back and Forward go through them", async ({ page, site }) => {
  const address = await site.start(fakeEngine());
  await openReady(page, address);
  await say(page, "One");
  await done(page, 0);
  const first = page.url();
  expect(first).toContain("#/chat/");
  await page.locator("#new-chat-in-list").click();
  await say(page, "Two");
  await done(page, 0);
  const second = page.url();
  expect(second).not.toBe(first);
  await expect(page).toHaveTitle("Two · Peregrine");
  await page.goBack();
  await expect(questions(page)).toHaveText(["One"]);
  await expect(page).toHaveURL(first);
  await page.goForward();
  await expect(questions(page)).toHaveText(["Two"]);
  await page.goto("about:blank");
  await page.goto(first);
  await expect(questions(page)).toHaveText(["One"]);
  await page.goto(`${address}#/chat/nowhere`);
  await expect(page.locator("#toast")).toContainText("no chat at this address");
  await expect(page.locator("#welcome-title")).toBeVisible();
});

test("a deleted chat can be brought back, at once and later", async ({ page, site }) => {
  await openReady(page, await site.start(fakeEngine()));
  await say(page, "Keep me");
  await done(page, 0);
  const remove = async () => {
    await page.getByRole("button", { name: "More for “Keep me”" }).click();
    await page.getByRole("menuitem", { name: "Delete" }).click();
    await expect(titles(page)).toHaveCount(0);
  };
  await remove();
  await expect(page.locator("#welcome-title")).toBeVisible();
  await page.getByRole("button", { name: "Undo" }).click();
  await expect(questions(page)).toHaveText(["Keep me"]);
  await remove();
  await page.reload();
  await page.getByRole("button", { name: "1 deleted chat" }).click();
  await page.getByRole("button", { name: "Bring back: Keep me" }).click();
  await page.getByRole("button", { name: "Close", exact: true }).first().click();
  await titles(page).first().click();
  await expect(answers(page)).toHaveCount(1);
});

test("a cleared database: the chat on the page is kept again, and the page says so", async ({ page, site, context }) => {
  await openReady(page, await site.start(fakeEngine()));
  await say(page, "One");
  await done(page, 0);
  const session = await context.newCDPSession(page);
  await session.send("Storage.clearDataForOrigin", { origin: new URL(page.url()).origin, storageTypes: "indexeddb" });
  await expect(page.locator("#toast")).toContainText("cleared");
  await say(page, "Two");
  await done(page, 1);
  await page.reload();
  await expect(questions(page)).toHaveText(["One", "Two"]);
  await expect(answers(page)).toHaveCount(2);
});

test("a profile of the first version is opened", async ({ page, site }) => {
  const address = await site.start(fakeEngine());
  await page.goto(`${address}icon.svg`);
  await page.evaluate(async () => {
    const opening = indexedDB.open("peregrine", 1);
    opening.onupgradeneeded = () => {
      opening.result.createObjectStore("chats", { keyPath: "id" });
      opening.result.createObjectStore("states", { keyPath: "id" }).createIndex("updated", "updated");
    };
    const db = await new Promise<IDBDatabase>((resolve) => (opening.onsuccess = () => resolve(opening.result)));
    const transaction = db.transaction(["chats", "states"], "readwrite");
    const messages = [
      { role: "user", content: "Old question" },
      { role: "assistant", content: "Old **answer**", facts: "3 tokens · 9.9 tokens/s" },
    ];
    transaction.objectStore("chats").put({ id: "old", title: "Old question", created: 1, updated: 2, messages });
    transaction.objectStore("states").put({ id: "old", state: new Blob(["x"]), updated: 2 });
    await new Promise((resolve) => (transaction.oncomplete = resolve));
    db.close();
    localStorage.setItem("peregrine.chat", "old");
  });
  await openReady(page, address);
  await expect(questions(page)).toHaveText(["Old question"]);
  await expect(answers(page).first().locator("strong")).toHaveText("answer");
  await expect(answers(page).first()).toContainText("3 tokens · 9.9 tokens/s");
  await say(page, "And on");
  await done(page, 1);
});

test("what cannot be kept is told, and stays on the page", async ({ page, site }) => {
  await openReady(page, await site.start(fakeEngine()));
  await say(page, "One");
  await done(page, 0);
  await page.evaluate(() => {
    const add = IDBObjectStore.prototype.add;
    Object.assign(window, { mend: () => (IDBObjectStore.prototype.add = add) });
    IDBObjectStore.prototype.add = () => {
      throw new DOMException("no room", "QuotaExceededError");
    };
  });
  await say(page, "Two");
  await expect(page.locator("#toast")).toContainText("still in the box");
  await expect(messageBox(page)).toHaveValue("Two");
  await page.evaluate(() => (window as unknown as { mend: () => void }).mend());
  await messageBox(page).press("Enter");
  await done(page, 1);
});

test("no key and no click by accident takes away what one writes, and a notice waits for who is at it", async ({ page, site }) => {
  await page.clock.install();
  await openReady(page, await site.start(fakeEngine()));
  // Safari ends a composition before it tells of the key that did.
  await messageBox(page).fill("にほん");
  await messageBox(page).evaluate((box) => box.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", keyCode: 229, bubbles: true, cancelable: true })));
  await expect(messageBox(page)).toHaveValue("にほん");
  await messageBox(page).press("Enter");
  await done(page, 0);
  await expect(questions(page), "by the key that was meant").toHaveText(["にほん"]);

  const instructions = page.getByRole("textbox", { name: "Instructions for this chat" });
  const open = async () => {
    await page.getByRole("button", { name: /^More for/ }).click();
    await page.getByRole("menuitem", { name: "Instructions" }).click();
  };
  await open();
  await instructions.fill("Be kind, and");
  const box = (await instructions.boundingBox())!;
  await page.mouse.move(box.x + 20, box.y + 10);
  await page.mouse.down();
  await page.mouse.move(5, 5);
  await page.mouse.up();
  await expect(instructions, "a selection that ends beside the dialog").toBeVisible();
  await page.keyboard.press("Escape");
  await expect(instructions).toHaveCount(0);
  await open();
  await expect(instructions).toHaveValue("Be kind, and");
  await page.mouse.click(5, 5);
  await expect(instructions, "a click beside it closes it").toHaveCount(0);

  const undo = page.getByRole("button", { name: "Undo" });
  const edit = page.getByRole("textbox", { name: "Edit message" });
  await messageBox(page).press("ArrowUp");
  await edit.fill("にほんご");
  await page.keyboard.press("Escape");
  await undo.click();
  await expect(edit, "an edit that was discarded").toHaveValue("にほんご");
  await page.keyboard.press("Escape");

  await page.getByRole("button", { name: /^More for/ }).click();
  await page.getByRole("menuitem", { name: "Delete" }).click();
  await expect(page.locator("#toast")).toContainText("Chat deleted");
  await undo.focus();
  await page.clock.fastForward(60_000);
  await expect(undo).toBeFocused();
  await messageBox(page).focus();
  await page.clock.fastForward(60_000);
  await expect(page.locator("#toast")).toBeHidden();
});

test("random actions in two tabs of the page lose nothing", async ({ page, site, context }) => {
  const address = await site.start(fakeEngine());
  await openReady(page, address);
  const other = await context.newPage();
  await other.setViewportSize({ width: 1300, height: 800 });
  await openReady(other, address);
  const tabs = [page, other];
  let seed = 7;
  const below = (n: number) => ((seed = (seed * 1664525 + 1013904223) >>> 0) >>> 8) % n;
  const asked: string[] = [];
  const click = async (tab: Page, name: string | RegExp) => {
    const button = tab.getByRole("button", { name }).last();
    const isEnabled = async () => (await button.count()) > 0 && button.isEnabled({ timeout: 1000 });
    // An answer that ends in between takes its button away.
    if (await isEnabled().catch(() => false)) await button.click({ timeout: 5000 }).catch(() => undefined);
  };
  // How many questions are refused depends on how fast answers come.
  for (let step = 0; step < 30 || (asked.length < 8 && step < 200); step++) {
    const tab = tabs[below(2)]!;
    const what = below(10);
    if (what < 3) {
      const text = `question ${step}${below(2) ? " [slow]" : ""}`;
      await messageBox(tab).fill(text);
      await messageBox(tab).press("Enter");
      // Refused while an answer comes: then it stays in the box. Else it is kept before anything
      // else happens.
      const stands = async () => (await questions(tab).allInnerTexts()).includes(text);
      const refused = (await messageBox(tab).inputValue()) === text;
      if (!refused) await expect.poll(stands).toBe(true);
      if (refused) await messageBox(tab).fill("");
      else asked.push(text);
    } else if (what === 3) await tab.keyboard.press("Escape");
    else if (what === 4) await click(tab, "Answer again");
    else if (what === 5) await click(tab, below(2) ? "Earlier version" : "Later version");
    else if (what === 6) await click(tab, "Stop the answer");
    else if (what === 7) await tab.reload();
    else if (what === 8) {
      const count = await titles(tab).count();
      if (count > 0) await titles(tab).nth(below(count)).click();
    } else await tab.locator("#new-chat-in-list").click();
  }
  await page.reload();
  const messages = await kept<{ id: string; parent: string | null; role: string; content: string }>(page, "messages");
  const ids = new Set(messages.map(({ id }) => id));
  expect(asked.length).toBeGreaterThan(5);
  expect(messages.filter(({ parent }) => parent !== null && !ids.has(parent))).toEqual([]);
  const questionsKept = messages.filter(({ role }) => role === "user").map(({ content }) => content);
  expect([...new Set(questionsKept)].sort()).toEqual([...asked].sort());
});
