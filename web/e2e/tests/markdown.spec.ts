/** What a model may say is not what a page may do. */

import { answers, expect, openReady, say, test, waitReady, workerBegins } from "../support.js";

/** Replaces the texts of the pieces that the worker sends. */
const saying = (text: string) =>
  workerBegins(`
    const told = new Set();
    const post = self.postMessage.bind(self);
    self.postMessage = (message) => {
      const chunk = message.type === "event" && typeof message.event === "string" && message.event && JSON.parse(message.event);
      const delta = chunk && chunk.choices?.[0]?.delta;
      if (!delta?.content) return post(message);
      delta.content = told.has(message.id) ? "" : ${JSON.stringify(text)};
      told.add(message.id);
      post({ ...message, event: JSON.stringify(chunk) });
    };`);

test("Markdown is shown as such, with a copy button for code", async ({ page, site }) => {
  await openReady(page, await site.start(saying("# Title\n\nSome *soft* and **hard** words.\n\n1. one\n2. two\n\n```js\nlet x = '<b>';\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n")));
  await say(page, "Hello!");
  const answer = answers(page).first();
  await expect(answer.getByRole("heading", { name: "Title" })).toBeVisible();
  await expect(answer.locator("em")).toHaveText("soft");
  await expect(answer.locator("li")).toHaveCount(2);
  await expect(answer.locator("pre")).toContainText("let x = '<b>';");
  await expect(answer.getByRole("cell", { name: "2" })).toBeVisible();
  await expect(answer.getByRole("button", { name: "Copy code" })).toBeVisible({ timeout: 120_000 });
});

test("no script, image, style, form or strange link survives", async ({ page, site }) => {
  const evil = [
    "<script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 1'>",
    "![pixel](http://example.com/pixel.png)",
    "<iframe src='http://example.com/'></iframe>",
    "<style>body { display: none }</style>",
    "<form action='http://example.com/'><input name=q></form>",
    "<p style='position:fixed' id=send onclick='window.hacked = 1'>paragraph</p>",
    "[click](javascript:window.hacked=1) [data](data:text/html,x) [fine](https://example.com/)",
    "<svg onload='window.hacked = 1'></svg>",
    "the end",
  ].join("\n\n");
  await openReady(page, await site.start(saying(evil)));
  await say(page, "Hello!");
  const body = answers(page).first().locator(".body");
  await expect(body).toContainText("the end");
  await expect(body, "HTML is shown as text").toContainText("<script>window.hacked = 1</script>");
  await expect(body.locator("script, img, iframe, style, form, input, svg, [style], [id], [onclick], [onerror]")).toHaveCount(0);
  const links = await body.locator("a[href]").evaluateAll((all) => all.map((a) => [a.getAttribute("href"), a.getAttribute("rel")]));
  expect(links).toEqual([["https://example.com/", "noopener noreferrer nofollow"]]);
  expect(await page.evaluate(() => "hacked" in window)).toBe(false);
});

test("what a person writes is shown as written", async ({ page, site }) => {
  await page.goto(await site.start());
  await waitReady(page);
  await say(page, "<b>bold</b> *stars*\n<img src=x>");
  await expect(page.locator("article.user .body")).toHaveText("<b>bold</b> *stars*\n<img src=x>");
  await expect(page.locator("article.user img, article.user b")).toHaveCount(0);
});
