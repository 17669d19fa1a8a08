/** A conversation, as a person has it. */

import { answers, answerText, beGreedy, expect, golden, messageBox, openReady, say, test, waitReady, whenWritten } from "../support.js";

test.use({ serviceWorkers: "allow" });

test("ask, get the exact answer; reload, ask again", async ({ page, site }) => {
  await openReady(page, await site.start());
  await expect(page.locator("#chip-model")).toHaveText("Peregrine Tiny Chat");
  await expect(page.locator("#chip-device")).toContainText("CPU");
  await beGreedy(page);
  const capital = golden("capital");
  await say(page, capital.messages[0]!.content);
  expect(await answerText(page, 0)).toBe(capital.answer);
  await expect(answers(page).first()).toContainText(/\d+ tokens · \d+\.\d tokens\/s/);

  await page.reload();
  await waitReady(page);
  expect(await answerText(page, 0), "the conversation is there again").toBe(capital.answer);
  await page.getByRole("button", { name: "New chat" }).first().click();
  await expect(answers(page)).toHaveCount(0);
  const sum = golden("sum");
  await say(page, sum.messages[0]!.content);
  expect(await answerText(page, 0), "the temperature is remembered").toBe(sum.answer);
});

test("a conversation of several turns gives the exact last answer", async ({ page, site }) => {
  // The golden conversation has answers of its own in it; here the model's own take their place, so
  // only questions are ours.
  await openReady(page, await site.start());
  await beGreedy(page);
  const greeting = golden("greeting");
  await say(page, greeting.messages[0]!.content);
  expect(await answerText(page, 0)).toBe(greeting.answer);
  await say(page, "What is the capital of France?");
  expect(await answerText(page, 1)).toContain("Paris");
});

test("stop an answer, go on with the conversation, answer again, new chat", async ({ page, site }) => {
  await openReady(page, await site.start());
  await beGreedy(page);
  const story = golden("story");
  const begun = whenWritten(page, "fox named", "stop");
  await say(page, story.messages[0]!.content);
  await begun;
  await expect(answers(page).first()).toContainText("Stopped");
  const part = await answerText(page, 0);
  // The golden is the first 64 tokens of the story.
  expect(story.answer.startsWith(part) || part.startsWith(story.answer), `${part} begins the story`).toBe(true);

  await say(page, "What is the capital of France?");
  expect(await answerText(page, 1)).toContain("Paris");

  await page.getByRole("button", { name: "Answer again" }).click();
  await expect(answers(page)).toHaveCount(2);
  expect(await answerText(page, 1)).toContain("Paris");

  await page.getByRole("button", { name: "New chat" }).first().click();
  await expect(answers(page)).toHaveCount(0);
  await expect(page.locator("#welcome-title")).toBeVisible();
  const capital = golden("capital");
  await say(page, capital.messages[0]!.content);
  expect(await answerText(page, 0), "nothing is left of the conversation before").toBe(capital.answer);
});

test("stopping before the first word keeps the question", async ({ page, site }) => {
  await openReady(page, await site.start());
  await say(page, "How do I make a cup of tea?");
  await messageBox(page).press("Escape");
  await expect(page.getByRole("button", { name: "Send" })).toBeVisible();
  await expect(page.locator("article.user .body")).toHaveText("How do I make a cup of tea?");
  // A word may have been faster than the key.
  await expect(answers(page).first().getByRole("button", { name: /^Answer( again)?$/ })).toBeVisible();
});

test("a suggestion is one click", async ({ page, site }) => {
  await openReady(page, await site.start());
  await beGreedy(page);
  await page.getByRole("group", { name: "Suggestions" }).getByRole("button").first().click();
  expect((await answerText(page, 0)).length).toBeGreaterThan(10);
  await expect(page.getByRole("group", { name: "Suggestions" })).toBeHidden();
});

test("the longest answer is a setting", async ({ page, site }) => {
  await openReady(page, await site.start());
  await beGreedy(page);
  await page.getByRole("button", { name: "Settings" }).click();
  await page.getByLabel("Longest answer, in tokens").fill("5");
  await page.keyboard.press("Escape");
  await say(page, golden("story").messages[0]!.content);
  await expect(answers(page).first()).toContainText("Cut at the longest answer", { timeout: 120_000 });
  await expect(answers(page).first()).toContainText("5 tokens");
  await page.getByRole("button", { name: "Settings" }).click();
  await page.getByLabel("Longest answer, in tokens").fill("512");
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Continue" }).click();
  await expect(answers(page).first(), "it goes on").not.toContainText("Cut at");
  expect((await answerText(page, 0)).startsWith(golden("story").answer), "as if it had never been cut").toBe(true);
});
