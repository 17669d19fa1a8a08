/** What people ask of every chat page, tried as a person would. With an engine that is played. */

import axe from "axe-core";
import type { Page } from "@playwright/test";
import { fakeEngine, READS, release, step } from "../fake.js";
import { answers, expect, failure, messageBox, openReady, say, test, waitReady } from "../support.js";

const titles = (page: Page) => page.locator("#chat-list .chat-title");
const questions = (page: Page) => page.locator("article.user .body");
/** Neither coming nor without a word; in any language. */
const done = (page: Page, index: number) => expect(answers(page).nth(index)).toHaveClass("assistant");
const focused = (page: Page) => page.evaluate(() => document.activeElement?.id || document.activeElement?.className || document.activeElement?.tagName);

/** Drops a file on the page. */
async function drop(page: Page, name: string, text: string): Promise<void> {
  await page.evaluate(
    ([name, text]) => {
      const dataTransfer = new DataTransfer();
      dataTransfer.items.add(new File([text as string], name as string));
      document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
    },
    [name, text],
  );
}

test.use({ viewport: { width: 1300, height: 800 } });

test("nothing that is dropped or written unloads the model; the old one answers until the new one does", async ({ page, site }) => {
  await openReady(page, await site.start(fakeEngine()));
  const chip = page.locator("#chip-model");
  await drop(page, "picture.png", "\x89PNG\r\n\x1a\n\0\0\0");
  await expect(page.locator("#toast")).toContainText("picture.png");
  await expect(chip).toHaveText("Fake Model");
  await drop(page, "holiday.gguf", "a diary");
  expect((await failure(page)).title).toBe("This is not a GGUF file.");
  await expect(chip).toHaveText("Fake Model");
  const load = async (name: string) => {
    await page.locator("#model-chip").click();
    await page.getByRole("textbox", { name: "Another model" }).fill(name);
    await page.keyboard.press("Enter");
  };
  await load("javascript:alert(1)");
  await expect(page.locator("#status.failed")).toContainText("There is no model under this name");
  await load("org/broken");
  await expect(page.locator("#status.failed")).toContainText("could not be downloaded");
  await page.getByRole("button", { name: "Go on with Fake Model" }).click();
  await say(page, "Still there?");
  await done(page, 0);

  await load("org/held");
  await expect(page.locator("#status.loading")).toContainText("Fake Model answers until it is ready");
  await say(page, "Meanwhile");
  await done(page, 1);
  await release(page);
  await expect(chip).toHaveText("org/held");
  await say(page, "And now?");
  await done(page, 2);
  await load("org/held-too");
  await page.getByRole("button", { name: "Stop loading" }).click();
  const card = await failure(page);
  expect(card.title).toBe("Loading was stopped.");
  expect(card.text).not.toContain("as asked");
  await expect(chip).toHaveText("org/held");
});

test("Escape in a dialog closes the dialog and nothing else", async ({ page, site }) => {
  await openReady(page, await site.start(fakeEngine()));
  await say(page, "Go on [slow]");
  await expect(answers(page).first()).toContainText("word3");
  for (const open of ["#model-chip", "#open-settings"]) {
    await page.locator(open).click();
    await expect(page.getByRole("dialog")).toBeVisible();
    await page.keyboard.press("Escape");
    await expect(page.getByRole("dialog")).toBeHidden();
    await expect(page.locator(open), "the focus is back").toBeFocused();
  }
  await expect(page.getByRole("button", { name: "Stop the answer" })).toBeVisible();
  await page.keyboard.press("Escape");
  await expect(answers(page).first()).toContainText("Stopped");
});

test("instructions: for every chat, and for one", async ({ page, site }) => {
  await openReady(page, await site.start(fakeEngine()));
  await page.locator("#open-settings").click();
  await page.getByRole("textbox", { name: "Instructions" }).fill("Be kind.");
  await page.keyboard.press("Escape");
  await say(page, "What? [told]");
  await expect(answers(page).first()).toContainText("I was told: Be kind.");
  await done(page, 0);
  await page.getByRole("button", { name: /^More for/ }).click();
  await page.getByRole("menuitem", { name: "Instructions" }).click();
  await page.getByRole("textbox", { name: "Instructions for this chat" }).fill("Be brief.");
  await page.getByRole("button", { name: "Save", exact: true }).click();
  await say(page, "And now? [told]");
  await expect(answers(page).nth(1)).toContainText("I was told: Be brief.");
  await page.reload();
  await page.locator("#new-chat-in-list").click();
  await say(page, "Here? [told]");
  await expect(answers(page).first()).toContainText("I was told: Be kind.");
  // An imported system message is instructions, and no bubble.
  const chat = { id: "s", title: "Sys", created: 1, updated: 2, messages: [{ role: "system", content: "Old rule." }, { role: "user", content: "Hi" }] };
  const file = JSON.stringify({ format: "peregrine-chats", version: 1, chats: [chat] });
  await page.locator("#chats-file").setInputFiles({ name: "a.json", mimeType: "application/json", buffer: Buffer.from(file) });
  await page.getByRole("button", { name: "Sys", exact: true }).click();
  await expect(questions(page)).toHaveText(["Hi"]);
  await say(page, "What? [told]");
  await expect(answers(page).last()).toContainText("Old rule.");
});

test("every setting for answers reaches the engine, within its range, and is kept", async ({ page, site }) => {
  await openReady(page, await site.start(fakeEngine("self.addEventListener('message', ({ data }) => data.call === 'respond' && new BroadcastChannel('asked').postMessage(JSON.parse(data.request.body)));")));
  await page.evaluate(() => {
    new BroadcastChannel("asked").onmessage = ({ data }) => Object.assign(window, { asked: data });
  });
  await page.locator("#open-settings").click();
  await page.getByText("More about how words are chosen").click();
  const fields = { "top p": "0.9", "top k": "40", "min p": "0.05", "Repetition penalty": "1.1", "Presence penalty": "0.5", "Frequency penalty": "9", Seed: "7" };
  for (const [name, value] of Object.entries(fields)) await page.getByRole("spinbutton", { name: new RegExp(name) }).fill(value);
  await page.getByLabel("Longest answer, in tokens").fill("99");
  await page.keyboard.press("Escape");
  await page.reload();
  await page.evaluate(() => {
    new BroadcastChannel("asked").onmessage = ({ data }) => Object.assign(window, { asked: data });
  });
  await say(page, "Hello");
  await done(page, 0);
  // A channel of its own, so it may come after the answer.
  const asked = () => page.evaluate(() => (window as unknown as { asked?: object }).asked);
  await expect.poll(asked).toMatchObject({ top_p: 0.9, top_k: 40, min_p: 0.05, repetition_penalty: 1.1, presence_penalty: 0.5, frequency_penalty: 2, seed: 7, max_completion_tokens: 99, temperature: 0.4 });
});

test("Enter while the model loads: the question stands there, and is answered when it can be", async ({ page, site }) => {
  await page.goto(await site.start(fakeEngine("self.hold = true;")));
  await expect(page.locator("#status.loading")).toBeVisible();
  await say(page, "Early");
  await expect(questions(page)).toHaveText(["Early"]);
  await expect(page.locator(".unanswered")).toContainText("as soon as the model is ready");
  await release(page);
  await done(page, 0);
  await expect(answers(page).first()).toContainText("Early");
});

test("a full context and a cut answer are no dead ends", async ({ page, site }) => {
  await openReady(page, await site.start(fakeEngine()));
  await say(page, "One");
  await done(page, 0);
  await expect(page.locator("#ring")).toHaveAttribute("aria-label", /^\d+% of the context is used: \d+ of 4,096 tokens$/);
  await say(page, "Two [full]");
  expect((await failure(page)).title).toBe("The conversation is longer than the model can remember.");
  await expect(page.getByRole("button", { name: "Use a context of 6,000 tokens" })).toBeVisible();
  await page.getByRole("button", { name: "Leave out the oldest messages" }).click();
  await done(page, 1);
  await expect(answers(page).nth(1)).toContainText("2 messages at the beginning were left out");

  await page.locator("#open-settings").click();
  await page.getByLabel("Longest answer, in tokens").fill("2");
  await page.keyboard.press("Escape");
  await say(page, "Three more words");
  await expect(answers(page).nth(2)).toContainText("Cut at the longest answer");
  const before = await answers(page).nth(2).locator(".body").innerText();
  await page.getByRole("button", { name: "Continue" }).click();
  await expect(answers(page).nth(2).locator(".body")).not.toHaveText(before);
  expect((await answers(page).nth(2).locator(".body").innerText()).startsWith(before.trim())).toBe(true);
});

test("a full context grows when the person asks for it", async ({ page, site }) => {
  await openReady(page, await site.start(fakeEngine()));
  await say(page, "One [full]");
  expect((await failure(page)).title).toBe("The conversation is longer than the model can remember.");
  await page.getByRole("button", { name: "Use a context of 6,000 tokens" }).click();
  await done(page, 0);
  await expect(answers(page).first()).toContainText("One full");
  await expect(questions(page)).toHaveText(["One [full]"]);
  await expect(page.locator("#ring")).toHaveAttribute("aria-label", /of 6,000 tokens$/);
});

test("a full context says what to do in every language, the first button first", async ({ page, site }) => {
  await page.addInitScript(() => localStorage.setItem("peregrine.settings", JSON.stringify({ language: "ar" })));
  await openReady(page, await site.start(fakeEngine()));
  await say(page, "One [full]");
  const { text } = await failure(page);
  expect(text).toContain("استخدم سياقًا أطول، أو ابدأ محادثة جديدة");
  const longer = page.locator("#status button").first();
  await expect(longer).toHaveText(/^استخدام سياق من .+ رمز$/);
  await longer.click();
  await done(page, 0);
});

test("where the oldest messages are left out, the context grows when the person asks for it", async ({ page, site }) => {
  await page.addInitScript(() => localStorage.setItem("peregrine.settings", JSON.stringify({ whenFull: "drop" })));
  await openReady(page, await site.start(fakeEngine()));
  for (const [index, text] of ["One", "Two"].entries()) {
    await say(page, text);
    await done(page, index);
  }
  const longer = page.getByRole("button", { name: "Use a context of 6,000 tokens" });
  await expect(longer, "at the last answer only").toHaveCount(1);
  await answers(page).nth(1).locator(longer).click();
  await expect(page.locator("#toast")).toContainText("The model remembers 6,000 tokens now.");
  await expect(page.locator("#ring")).toHaveAttribute("aria-label", /of 6,000 tokens$/);
  await expect(longer).toHaveCount(0);
  await say(page, "Three");
  await done(page, 2);
  await expect(answers(page).nth(2)).toContainText("left out");
  await expect(longer, "it is as long as it can be").toHaveCount(0);
});

test("many chats: by date, found by what was said, pinned", async ({ page, site }) => {
  const address = await site.start(fakeEngine());
  await openReady(page, address);
  const day = 24 * 3600 * 1000;
  const chats = Array.from({ length: 300 }, (_, i) => {
    const updated = Date.now() - i * day * 0.7;
    const messages = [{ role: "user", content: `Question ${i}` }, { role: "assistant", content: i === 250 ? "The heron stands in the reeds." : "Yes." }];
    return { id: `c${i}`, title: `Chat ${i}`, created: updated, updated, messages };
  });
  const buffer = Buffer.from(JSON.stringify({ format: "peregrine-chats", version: 1, chats }));
  await page.locator("#chats-file").setInputFiles({ name: "many.json", mimeType: "application/json", buffer });
  await expect(page.locator("#toast")).toContainText("300 chats were added");
  await expect(titles(page)).toHaveCount(300);
  await expect(page.locator("#chat-list h2").first()).toHaveText("Today");
  await expect(page.locator("#chat-list h2").last()).toHaveText(/^\w+ 20\d\d$/);
  await page.keyboard.press("Control+k");
  await expect(page.getByRole("searchbox")).toBeFocused();
  await page.keyboard.type("HERON");
  await expect(titles(page)).toHaveCount(1);
  await expect(titles(page)).toContainText("heron stands");
  await titles(page).click();
  await expect(questions(page)).toHaveText(["Question 250"]);
  await page.getByRole("searchbox").fill("nobody said this");
  await expect(page.locator("#chat-list")).toContainText("No chat has these words");
  await page.getByRole("searchbox").fill("");
  await page.getByRole("button", { name: "More for “Chat 3”", exact: true }).click();
  await page.getByRole("menuitem", { name: "Pin" }).click();
  await expect(page.locator("#chat-list h2").first()).toHaveText("Pinned");
  await expect(titles(page).first()).toHaveText("Chat 3");
});

test("menus by keyboard, and the focus is never lost", async ({ page, site }) => {
  await openReady(page, await site.start(fakeEngine()));
  await say(page, "One");
  await done(page, 0);
  const more = page.getByRole("button", { name: "More for “One”" });
  await more.focus();
  await page.keyboard.press("ArrowDown");
  await expect(page.getByRole("menuitem", { name: "Rename" })).toBeFocused();
  await page.keyboard.press("End");
  await expect(page.getByRole("menuitem", { name: "Delete" })).toBeFocused();
  await page.keyboard.press("ArrowDown");
  await expect(page.getByRole("menuitem", { name: "Rename" })).toBeFocused();
  await page.keyboard.press("p");
  await expect(page.getByRole("menuitem", { name: "Pin" })).toBeFocused();
  await page.keyboard.press("Escape");
  await expect(more).toBeFocused();
  await expect(page.getByRole("menu")).toHaveCount(0);

  // What comes of a step is waited for first: it is then that the focus could be lost.
  const kept = async (what: string) => expect(await focused(page), what).not.toBe("BODY");
  await page.getByRole("button", { name: "Answer again" }).click();
  await expect(answers(page)).toContainText(["Answer 2"]);
  await done(page, 0);
  await kept("another answer");
  await page.locator("article.user").hover();
  await page.getByRole("button", { name: "Edit" }).click();
  await page.getByRole("button", { name: "Cancel" }).click();
  await expect(page.getByRole("textbox", { name: "Edit message" })).toHaveCount(0);
  await kept("an edit is cancelled");
  const openMenu = async () => {
    await more.focus();
    await page.keyboard.press("Enter");
    await expect(page.getByRole("menuitem", { name: "Rename" })).toBeFocused();
  };
  await openMenu();
  await page.keyboard.press("Enter");
  await expect(page.getByRole("textbox", { name: "Title of the chat" })).toBeFocused();
  await page.keyboard.press("Escape");
  await expect(titles(page)).toBeFocused();
  await openMenu();
  await page.keyboard.press("End");
  await page.keyboard.press("Enter");
  await expect(titles(page)).toHaveCount(0);
  const undo = page.getByRole("button", { name: "Undo" });
  await expect(undo).toBeVisible();
  await kept("a chat is deleted");
  await undo.click();
  await expect(questions(page)).toHaveText(["One"]);
  await kept("it is brought back");
  await messageBox(page).fill("");
  await messageBox(page).press("ArrowUp");
  await expect(page.getByRole("textbox", { name: "Edit message" })).toBeFocused();
  await page.keyboard.press("Escape");
  await page.locator("#scroller").focus();
  await page.keyboard.press("?");
  await expect(page.getByRole("dialog", { name: "Keyboard shortcuts" })).toBeVisible();
});

test("printed: all of the conversation, and no buttons", async ({ page, site }) => {
  await openReady(page, await site.start(fakeEngine()));
  for (const i of [0, 1, 2, 3]) {
    await say(page, `[say ${"A long paragraph. ".repeat(120)}]`);
    await done(page, i);
  }
  await page.emulateMedia({ media: "print" });
  const seen = await page.evaluate(() => ({
    buttons: [...document.querySelectorAll("button, textarea, input")].filter((element) => element.checkVisibility()).length,
    main: document.querySelector("main")!.clientHeight,
    content: document.querySelector("#messages")!.clientHeight,
  }));
  expect(seen.buttons).toBe(0);
  expect(seen.main).toBeGreaterThanOrEqual(seen.content);
  expect(seen.content).toBeGreaterThan(800);
});

test("at 400% there is room to read", async ({ page, site }) => {
  await page.setViewportSize({ width: 320, height: 256 });
  await openReady(page, await site.start(fakeEngine()));
  await say(page, "One");
  await done(page, 0);
  const room = await page.locator("#scroller").evaluate((main) => main.clientHeight);
  expect(room).toBeGreaterThan(110);
  await expect(page.getByRole("button", { name: "Send" })).toBeInViewport();
  expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(320);
});

test("documents: attached, counted, removed, kept over a reload, read along; a long paste becomes one", async ({ page, site }) => {
  await openReady(page, await site.start(fakeEngine()));
  await drop(page, "notes.txt", "The heron stands in the reeds.");
  const chips = page.locator(".attached li");
  await expect(chips).toHaveText([/notes\.txt\d+ tokens/]);
  await page.reload();
  await expect(chips).toHaveCount(1);
  await page.locator("#documents").setInputFiles({ name: "more.md", mimeType: "text/markdown", buffer: Buffer.from("# Owls") });
  await expect(chips).toHaveText([/notes/, /more\.md\d+ tokens?/]);
  await page.getByRole("button", { name: "Remove: more.md" }).click();
  await expect(chips).toHaveCount(1);
  await say(page, "Which bird?");
  await done(page, 0);
  await expect(chips).toHaveCount(0);
  await expect(page.locator(".document")).toContainText("notes.txt");
  await expect(answers(page).first(), "the model has read it").toContainText("The heron stands in the reeds");
  await page.reload();
  await expect(page.locator(".document")).toContainText("notes.txt");
  await expect(chips).toHaveCount(0);
  await messageBox(page).focus();
  await page.evaluate(() => {
    const clipboardData = new DataTransfer();
    clipboardData.setData("text/plain", "word ".repeat(25_000));
    document.activeElement!.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
  });
  await expect(chips, "read and kept").toHaveText([/Pasted text[\d,]+ tokens/]);
  await expect(messageBox(page)).toHaveValue("");
  await say(page, "Where is a word?");
  await done(page, 1);
  await expect(page.locator(".document").last(), "what does not fit is told").toContainText(/\d+ of \d+ passages/);
});

test("saved chats that are dropped on the page are imported, and stand beside no box", async ({ page, site }) => {
  await openReady(page, await site.start(fakeEngine()));
  const chat = { id: "s", title: "From a file", created: 1, updated: 2, messages: [{ role: "user", content: "Hi" }] };
  await drop(page, "peregrine chats.json", JSON.stringify({ format: "peregrine-chats", version: 1, chats: [chat] }, null, 2));
  await expect(titles(page)).toHaveText(["From a file"]);
  await expect(page.locator("#toast")).toContainText("1 chat was added");
  await expect(page.locator(".attached li")).toHaveCount(0);
  await drop(page, "data.json", '{"format": "something else"}');
  await expect(page.locator(".attached li")).toHaveText([/data\.json\d+ tokens/]);
});

test("a document: the person chooses what of it is read, sees the passages, and takes it along to another browser", async ({ page, site, browser }) => {
  const address = await site.start(fakeEngine());
  await openReady(page, address);
  const paragraphs = Array.from({ length: 12 }, (_, i) => `Paragraph ${i} is about ${i === 7 ? "the heron" : "nothing much"}. ${"It goes on. ".repeat(20)}`);
  await drop(page, "birds.txt", paragraphs.join("\n\n"));
  const choice = page.getByRole("combobox", { name: "What is read of birds.txt" });
  await expect(choice).toHaveValue("whole");
  await drop(page, "other.txt", "Something else.");
  await expect(page.locator(".attached li")).toHaveCount(2);
  await expect(page.locator(".attached li").last()).toContainText("tokens");
  // The page may be closed before the database has it.
  await page.evaluate(() => {
    const { put } = IDBObjectStore.prototype;
    IDBObjectStore.prototype.put = function (this: IDBObjectStore, ...args) {
      const request = put.apply(this, args);
      if (this.name === "drafts") this.transaction.abort();
      return request;
    };
  });
  await choice.selectOption("passages");
  await page.getByRole("button", { name: "Remove: other.txt" }).click();
  await page.reload();
  await expect(choice, "it is remembered").toHaveValue("passages");
  await expect(page.locator(".attached li"), "so is what was removed").toHaveCount(1);
  await waitReady(page);
  await say(page, "Where is the heron?");
  await done(page, 0);
  const used = page.locator("details.document");
  await expect(used.locator("summary")).toContainText(/birds\.txt \(\d+ of \d+ passages\)/);
  await used.locator("summary").click();
  await expect(used.locator(".passages")).toContainText("the heron");
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Export all" }).click()]);
  const profile = await browser.newContext({ viewport: { width: 1300, height: 800 } });
  const other = await profile.newPage();
  await openReady(other, address);
  await other.locator("#chats-file").setInputFiles(await download.path());
  await titles(other).click();
  const there = other.getByRole("combobox", { name: "What is read of birds.txt" });
  await expect(there).toHaveValue("passages");
  await there.selectOption("whole");
  await expect(there, "the document came along").toHaveValue("whole");
  await done(other, 0);
  await profile.close();
  // What cannot be read as a whole says so.
  await drop(page, "long.txt", "word ".repeat(25_000));
  const long = page.getByRole("combobox", { name: "What is read of long.txt" });
  await expect(long).toHaveValue("passages");
  await expect(long.locator("option").first()).toBeDisabled();
});

test("a long document: how far it is read, stopped, gone on with; the next question does not read it again", async ({ page, site }) => {
  await openReady(page, await site.start(fakeEngine(READS)));
  await drop(page, "long.txt", "The heron stands in the reeds. ".repeat(100));
  await expect(page.locator(".attached li")).toContainText("tokens");
  await say(page, "Which bird? [say A heron.]");
  const bar = page.getByRole("progressbar", { name: "Reading before the answer" });
  await expect(bar).toHaveAttribute("value", "0");
  await step(page);
  await expect(bar).toHaveAttribute("value", "512");
  await expect(page.locator(".reading")).toContainText(/^512 of 3,\d\d\d tokens read/);
  await page.getByRole("button", { name: "Stop the answer" }).click();
  await expect(page.locator(".unanswered")).toContainText(/Reading was stopped at 512 of 3,\d\d\d tokens/);
  await page.getByRole("button", { name: "Go on reading" }).click();
  await expect(bar, "not from the beginning").toHaveAttribute("value", "512");
  // A step that comes before the next one waits goes nowhere.
  await expect(async () => {
    await step(page);
    expect(await bar.count()).toBe(0);
  }).toPass({ intervals: [50] });
  await done(page, 0);
  await expect(answers(page).first(), "it has just been read").not.toContainText("not read again");
  await say(page, "And where? [say In the reeds.]");
  await done(page, 1);
  await expect(answers(page).nth(1)).toContainText(/The document was not read again: 3,\d\d\d of 3,\d\d\d tokens were remembered/);
});

test("drawing a long answer while it comes, and scrolling a long conversation", async ({ page, site }) => {
  await page.addInitScript(() => localStorage.setItem("peregrine.settings", JSON.stringify({ maxTokens: 32_768 })));
  await openReady(page, await site.start(fakeEngine()));
  const messages = Array.from({ length: 200 }, (_, i) => ({ role: i % 2 ? "assistant" : "user", content: i % 2 ? `## Answer ${i}\n\n${"Some **words** and \`code\`. ".repeat(30)}` : `Question ${i}` }));
  const file = JSON.stringify({ format: "peregrine-chats", version: 1, chats: [{ id: "long", title: "Long", created: 1, updated: 2, messages }] });
  await page.locator("#chats-file").setInputFiles({ name: "a.json", mimeType: "application/json", buffer: Buffer.from(file) });
  await page.getByRole("button", { name: "Long", exact: true }).click();
  await expect(answers(page)).toHaveCount(100);
  const frames = await page.evaluate(async () => {
    const main = document.getElementById("scroller")!;
    const times: number[] = [];
    for (let i = 0; i < 40; i++) {
      main.scrollTop -= 300;
      const began = performance.now();
      main.getBoundingClientRect();
      times.push(performance.now() - began);
      await new Promise(requestAnimationFrame);
    }
    return { moved: main.scrollHeight - main.scrollTop > 5000, longest: Math.max(...times), mean: times.reduce((a, b) => a + b) / times.length };
  });
  console.log(`scrolling 200 messages: layout ${frames.mean.toFixed(2)} ms a frame, longest ${frames.longest.toFixed(1)} ms`);
  expect(frames.moved).toBe(true);

  // 12 KB that come some words at a time: what a frame costs near the end of it.
  await page.getByRole("button", { name: "New chat" }).first().click();
  const part = "## A heading\n\nSome **words**, `code`, and a [link](https://example.com).\n\n- one\n- two\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n";
  await say(page, `[stream ${part.repeat(Math.ceil(12_288 / part.length))}]`);
  await expect(async () => expect((await answers(page).last().innerText()).length).toBeGreaterThan(5_000)).toPass({ intervals: [200] });
  const session = await page.context().newCDPSession(page);
  await session.send("Performance.enable");
  const costs = async () => {
    const { metrics } = await session.send("Performance.getMetrics");
    return metrics.filter(({ name }) => ["ScriptDuration", "LayoutDuration", "RecalcStyleDuration"].includes(name)).reduce((sum, { value }) => sum + value, 0);
  };
  const before = await costs();
  const drawn = await page.evaluate(async () => {
    for (let frame = 0; ; frame++) {
      if (frame === 60 || !document.querySelector("article.writing")) return frame;
      await new Promise(requestAnimationFrame);
    }
  });
  const each = (1000 * ((await costs()) - before)) / Math.max(1, drawn);
  console.log(`drawing an answer of 12 KB while it comes: ${each.toFixed(1)} ms a frame`);
  await page.keyboard.press("Escape");
  await done(page, 0);
});

test("what another app shares waits in the box of a new chat", async ({ page, site }) => {
  const address = await site.start(fakeEngine());
  await openReady(page, `${address}?title=Herons&text=Where+do+they+live%3F`);
  await expect(messageBox(page)).toHaveValue("Herons\nWhere do they live?");
  expect(page.url()).not.toContain("Herons");
  const manifest = await page.evaluate(async () => (await fetch(document.querySelector<HTMLLinkElement>("link[rel=manifest]")!.href)).json());
  expect(manifest).toMatchObject({ name: "Peregrine", display: "standalone" });
});

test("the page speaks another language, from right to left too", async ({ page, site }) => {
  await openReady(page, await site.start(fakeEngine()));
  await page.locator("#open-settings").click();
  await page.getByRole("combobox", { name: "Language" }).selectOption("ar");
  await expect(page.locator("html")).toHaveAttribute("dir", "rtl");
  await expect(page.locator("html")).toHaveAttribute("lang", "ar");
  await expect(page.getByRole("heading", { name: "الإعدادات" })).toBeVisible();
  await page.keyboard.press("Escape");
  await expect(page.locator("dialog[open]")).toHaveCount(0);
  await page.locator("#prompt").fill("ما هي عاصمة إيطاليا؟");
  await page.locator("#prompt").press("Enter");
  await expect(page.locator("article.assistant .regenerate")).toBeVisible();
  const places = await page.evaluate(() => {
    const left = (query: string) => document.querySelector(query)!.getBoundingClientRect().left;
    return { list: left("#chats"), conversation: left("#scroller"), send: left("#send"), box: left("#prompt"), wide: document.documentElement.scrollWidth };
  });
  expect(places.list).toBeGreaterThan(places.conversation);
  expect(places.send - places.box).toBeLessThan(60);
  expect(places.wide).toBeLessThanOrEqual(1300);
  // English words in the list: the menu does not stand on them, nor the buttons on what one writes.
  const overlap = await page.evaluate(() => {
    const words = (query: string) => {
      const element = document.querySelector(query)!;
      const { left, right } = element.getBoundingClientRect();
      const { paddingLeft, paddingRight } = getComputedStyle(element);
      return [left + parseFloat(paddingLeft), right - parseFloat(paddingRight)] as const;
    };
    const apart = (query: string, [left, right]: readonly [number, number]) => {
      const box = document.querySelector(query)!.getBoundingClientRect();
      return box.right <= left + 1 || box.left >= right - 1;
    };
    document.querySelector(".chat-title")!.setAttribute("dir", "ltr");
    document.querySelector("#prompt")!.setAttribute("dir", "ltr");
    return [apart(".more", words(".chat-title")), apart("#send", words("#prompt")), apart("#attach", words("#prompt"))];
  });
  expect(overlap).toEqual([true, true, true]);
  await expect(page.locator("#chip-model"), "a name is cut at its end").toHaveCSS("direction", "ltr");
  await page.reload();
  await expect(page.locator("html"), "it is remembered").toHaveAttribute("dir", "rtl");
});

for (const scheme of ["light", "dark"] as const) {
  test(`no violation that axe knows, in any state: ${scheme}`, async ({ page, site }) => {
    await page.emulateMedia({ colorScheme: scheme, reducedMotion: "reduce" });
    await openReady(page, await site.start(fakeEngine()));
    await page.evaluate(axe.source);
    const check = async (state: string) => {
      const found = await page.evaluate(async () => {
        const { violations } = await (window as unknown as { axe: typeof axe }).axe.run();
        return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 120)).join(" | ")}`);
      });
      expect(found, state).toEqual([]);
    };
    await check("empty");
    await say(page, "[say ## Title\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```js\nlet x = 1;\n```\n\n- [x] done\n- [ ] open]");
    await done(page, 0);
    await page.getByRole("button", { name: "Answer again" }).click();
    await expect(page.locator(".versions")).toBeVisible();
    await drop(page, "notes.txt", "text");
    await expect(page.locator(".attached li")).toContainText("token");
    await check("a conversation");
    await page.locator("article.user").hover();
    await page.getByRole("button", { name: "Edit" }).click();
    await check("editing");
    await page.keyboard.press("Escape");
    await page.getByRole("button", { name: /^More for/ }).click();
    await check("a menu");
    await page.keyboard.press("Escape");
    for (const open of ["#model-chip", "#open-settings"]) {
      await page.locator(open).click();
      for (const more of await page.locator("dialog[open] summary").all()) await more.click();
      await check(open);
      await page.keyboard.press("Escape");
    }
    await say(page, "Fails [fail]");
    await expect(page.locator("#status.failed")).toBeVisible();
    await check("an error");
    await page.setViewportSize({ width: 360, height: 640 });
    await check("on a phone");
    await page.getByRole("button", { name: "Chats" }).click();
    await check("the drawer");
  });
}
