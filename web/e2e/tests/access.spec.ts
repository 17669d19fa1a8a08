/** Keyboard, screen reader, phone, themes. */

import { answers, answerText, beGreedy, expect, golden, messageBox, openReady, say, test, whenWritten } from "../support.js";

test("keyboard only: settings, message, new line, stop, new chat", async ({ page, site }) => {
  await openReady(page, await site.start());
  await expect(messageBox(page), "one can write at once").toBeFocused();

  // Backwards to the settings button, and in its dialog to the slider.
  for (let i = 0; i < 20 && (await page.evaluate(() => document.activeElement?.id)) !== "open-settings"; i++) await page.keyboard.press("Shift+Tab");
  await expect(page.getByRole("button", { name: "Settings" })).toBeFocused();
  await page.keyboard.press("Enter");
  await expect(page.getByRole("dialog")).toBeVisible();
  await expect(page.getByRole("slider", { name: "Temperature" })).toBeVisible();
  for (let i = 0; i < 20 && (await page.evaluate(() => document.activeElement?.id)) !== "temperature"; i++) await page.keyboard.press("Tab");
  await page.keyboard.press("Home");
  await expect(page.getByRole("slider", { name: "Temperature" })).toHaveValue("0");
  await page.keyboard.press("Escape");
  await expect(page.getByRole("dialog")).toBeHidden();

  for (let i = 0; i < 20 && (await page.evaluate(() => document.activeElement?.id)) !== "prompt"; i++) await page.keyboard.press("Tab");
  await page.keyboard.type("Two");
  await page.keyboard.press("Shift+Enter");
  await page.keyboard.type("lines");
  await expect(messageBox(page)).toHaveValue("Two\nlines");
  await expect(answers(page)).toHaveCount(0);
  await page.keyboard.press("Control+A");
  const capital = golden("capital");
  await page.keyboard.type(capital.messages[0]!.content);
  await page.keyboard.press("Enter");
  expect(await answerText(page, 0)).toBe(capital.answer);

  await messageBox(page).focus();
  await page.keyboard.type(golden("story").messages[0]!.content);
  const begun = whenWritten(page, "fox");
  await page.keyboard.press("Enter");
  await begun;
  await page.keyboard.press("Escape");
  await expect(answers(page).nth(1)).toContainText("Stopped");
  await expect(messageBox(page)).toBeFocused();

  for (let i = 0; i < 30 && (await page.evaluate(() => document.activeElement?.id)) !== "new-chat"; i++) await page.keyboard.press("Shift+Tab");
  await page.keyboard.press("Enter");
  await expect(answers(page)).toHaveCount(0);
  await expect(messageBox(page)).toBeFocused();
});

test("everything that can be used has a name, and what has the focus shows it", async ({ page, site }) => {
  await openReady(page, await site.start());
  await say(page, "Hello!");
  await answerText(page, 0);
  const nameless = await page.evaluate(() =>
    [...document.querySelectorAll<HTMLElement>("button, input, textarea, a[href], dialog")]
      .filter((element) => {
        const labels = (element as HTMLInputElement).labels;
        const by = element.getAttribute("aria-labelledby");
        return !(element.getAttribute("aria-label") || element.textContent?.trim() || labels?.length || (by && document.getElementById(by)));
      })
      .map((element) => element.outerHTML),
  );
  expect(nameless).toEqual([]);
  await messageBox(page).focus();
  for (let i = 0; i < 8; i++) {
    await page.keyboard.press("Shift+Tab");
    const outline = await page.evaluate(() => {
      const element = document.activeElement as HTMLElement;
      return element === document.body || element.id === "scroller" ? "skip" : getComputedStyle(element).outlineStyle;
    });
    expect(outline).not.toBe("none");
  }
});

test("a screen reader hears whole answers, not every token", async ({ page, site }) => {
  await page.addInitScript(() => {
    const heard: string[] = ((window as unknown as { heard: string[] }).heard = []);
    new MutationObserver((changes) => {
      const announcer = document.getElementById("announcer");
      if (changes.some(({ target }) => announcer?.contains(target))) heard.push(announcer!.textContent ?? "");
    }).observe(document, { childList: true, characterData: true, subtree: true });
  });
  await openReady(page, await site.start());
  await beGreedy(page);
  const joke = golden("joke");
  await say(page, joke.messages[0]!.content);
  await answerText(page, 0);
  const heard = (await page.evaluate(() => (window as unknown as { heard: string[] }).heard)).map((text) => text.trim());
  expect(heard).toContain("Peregrine Tiny Chat is ready");
  expect(heard).toContain("Peregrine is answering");
  expect(heard).toContain(joke.answer.trim());
  expect(heard.length).toBeLessThan(10);
  await expect(page.locator("#messages"), "the conversation itself is not live").not.toHaveAttribute("aria-live", /./);
});

for (const width of [360, 768]) {
  test(`nothing is cut off at a width of ${width}`, async ({ page, site }) => {
    await page.setViewportSize({ width, height: 640 });
    await openReady(page, await site.start());
    await beGreedy(page);
    await say(page, "What is the capital of Italy? ".repeat(4) + "x".repeat(120));
    await answerText(page, 0);
    const overflow = await page.evaluate(() =>
      [...document.querySelectorAll<HTMLElement>("body *")]
        .filter((element) => element.checkVisibility() && !element.closest(".hidden-visually, pre, .table, .skip"))
        .filter((element) => element.getBoundingClientRect().right > innerWidth + 1)
        .map((element) => element.outerHTML.slice(0, 80)),
    );
    expect(overflow).toEqual([]);
    await expect(page.locator("#new-chat")).toBeInViewport();
    await expect(page.getByRole("button", { name: "Send" })).toBeInViewport();
    await page.getByRole("button", { name: "Settings" }).click();
    await expect(page.getByRole("button", { name: "Close settings" })).toBeInViewport();
  });
}

test("themes: the system's, or a chosen one that is remembered", async ({ page, site }) => {
  const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  await page.emulateMedia({ colorScheme: "dark" });
  await page.goto(await site.start());
  const dark = await background();
  await page.emulateMedia({ colorScheme: "light" });
  const light = await background();
  expect(light).not.toBe(dark);
  await page.getByRole("button", { name: "Switch between light and dark" }).click();
  await expect.poll(background).toBe(dark);
  await page.reload();
  await expect.poll(background).toBe(dark);
  await page.getByRole("button", { name: "Settings" }).click();
  await page.getByRole("radio", { name: "System" }).check();
  await expect.poll(background).toBe(light);
});

test("reduced motion: nothing moves", async ({ page, site }) => {
  await page.emulateMedia({ reducedMotion: "reduce" });
  await openReady(page, await site.start());
  await say(page, "Hello!");
  const moving = await page.evaluate(() => document.getAnimations().length);
  expect(moving).toBe(0);
});
