import { fakeEngine } from "../fake.js";
import { answers, expect, messageBox, openReady, say, test } from "../support.js";
test("dbg", async ({ page, site, context }) => {
  page.on("console", (m) => console.log(m.text()));
  await openReady(page, await site.start(fakeEngine()));
  await say(page, "One");
  await expect(answers(page).nth(0).getByRole("button", { name: "Copy", exact: true })).toBeVisible();
  await page.evaluate(async () => {
    const opening = indexedDB.open("peregrine");
    const db = await new Promise<IDBDatabase>((resolve) => (opening.onsuccess = () => resolve(opening.result)));
    db.onclose = () => console.log("closed!");
    db.onversionchange = (e) => console.log("vc", e.newVersion);
  });
  const session = await context.newCDPSession(page);
  await session.send("Storage.clearDataForOrigin", { origin: new URL(page.url()).origin, storageTypes: "indexeddb" });
  await page.waitForTimeout(1500);
  console.log(await page.evaluate(async () => JSON.stringify(await indexedDB.databases())));
  console.log(await page.locator("#toast").innerHTML());
});
