/** The browser that the tests drive. */

import { chromium } from "@playwright/test";
import { FLAGS } from "../playwright.config.js";
import { expect, test } from "../support.js";

const OFF = "--disable-features=";
/** Those of Edge, which Chromium has not. */
const EDGE = /^ms[A-Z]/;

test("no feature that Playwright turns off is on", async ({}, info) => {
  const { executablePath } = info.project.use.launchOptions as { executablePath: string };
  // Only then it tells its command line.
  const browser = await chromium.launch({ executablePath, args: [...FLAGS, "--enable-automation"] });
  try {
    const session = await browser.newBrowserCDPSession();
    const { arguments: given } = await session.send("Browser.getBrowserCommandLine");
    const flags = given.filter((argument) => argument.startsWith(OFF)).map((argument) => argument.slice(OFF.length).split(","));
    // Playwright's own, and that of playwright.config.ts, which takes its place.
    expect(flags).toHaveLength(2);
    const [theirs, ours] = flags;
    expect(theirs!.filter((feature) => !ours!.includes(feature) && !EDGE.test(feature))).toEqual([]);
    expect(ours!.filter((feature) => !theirs!.includes(feature)), "the comparison can fail").not.toEqual([]);
  } finally {
    await browser.close();
  }
});
