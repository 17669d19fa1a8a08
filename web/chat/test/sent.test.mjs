/**
 * Documents of questions that were asked: what of them is read can be chosen anew, and nothing that
 * was said is lost.
 */

import assert from "node:assert/strict";
import { after, afterEach, test } from "node:test";
import { answered, closeTabs, end, pendingOf, profile, ready, text, until } from "./tab.mjs";

after(end);
afterEach(closeTabs);

const paragraph = (i) => `Paragraph ${i} is about ${i === 23 ? "herons" : i === 7 ? "owls" : "nothing much"}. ${"It goes on for a while. ".repeat(9)}`;
const BIRDS = Array.from({ length: 40 }, (_, i) => paragraph(i)).join("\n\n");

/** A tab in which a question about a document has been answered. */
async function asked(browser, mode, question = "where do herons live?") {
  const tab = await browser.tab();
  tab.talk.begin();
  await tab.documents.attach([text("birds.txt", BIRDS)]);
  await ready(tab, "birds.txt");
  if (mode === "passages") await tab.documents.choose(tab.documents.pending.value[0].id, mode);
  await tab.sender.send(question);
  await answered(tab, question, "yes");
  await until(() => pendingOf(tab).length === 0);
  return tab;
}
const attached = (tab, at = 0) => tab.talk.branch.value[at].attachments[0];

test("from all of it to the passages that matter and back: each is a version of the question, answered, and the ones before stay", async () => {
  const browser = profile();
  const tab = await asked(browser);
  const [{ id }] = tab.talk.branch.value;
  const whole = attached(tab);
  assert.equal(whole.part, undefined);
  await tab.sent.choose(id, whole.id, "passages");
  await until(() => attached(tab).part !== undefined);
  await answered(tab, "where do herons live?", "yes");
  assert.match(attached(tab).part, /\d+ of \d+ passages/);
  assert.match(attached(tab).text, /herons/);
  assert.ok(attached(tab).text.length < whole.text.length);
  assert.match(tab.toy.asked.at(-1).at(-1).content, /passages of it, not the whole/, "that is what the model reads");

  // After a reload too.
  const again = await browser.tab(tab);
  again.talk.begin();
  await answered(again, "where do herons live?", "yes");
  const [now] = again.talk.branch.value;
  assert.ok(again.sent.fits(now, attached(again)));
  await again.sent.choose(now.id, whole.id, "whole");
  await until(() => attached(again).part === undefined);
  await answered(again, "where do herons live?", "yes");
  assert.equal(attached(again).text, whole.text);
  assert.equal(again.talk.tree.value.versions(again.talk.branch.value[0].id).length, 3);
  assert.equal((await again.store.conversation(again.talk.chat.value)).messages.length, 6, "nothing is lost");
});

test("what does not fit as a whole is told, and nothing is asked", async () => {
  const browser = profile();
  const tab = await asked(browser, "passages");
  const [{ id }] = tab.talk.branch.value;
  tab.toy.info.model.contextLength = 1200;
  assert.equal(tab.sent.fits(tab.talk.branch.value[0], attached(tab)), false);
  await tab.sent.choose(id, attached(tab).id, "whole");
  assert.match(tab.notice.value.text, /birds\.txt does not fit/);
  assert.equal(tab.talk.tree.value.versions(id).length, 1);
});

test("an edited question gets the passages that matter for it", async () => {
  const tab = await asked(profile(), "passages");
  const [{ id }] = tab.talk.branch.value;
  assert.doesNotMatch(attached(tab).text, /owls/);
  await tab.sent.edit(id, "where do owls live?");
  await answered(tab, "where do owls live?", "yes");
  assert.match(attached(tab).text, /owls/);
  await Promise.all([tab.sent.edit(tab.talk.branch.value[0].id, "more"), tab.sent.edit(tab.talk.branch.value[0].id, "more")]);
  await answered(tab, "more", "yes");
  assert.equal(tab.talk.tree.value.versions(tab.talk.branch.value[0].id).length, 3, "Enter twice is one question");
});

test("used again in the next question, of which the passages are other ones; also after a reload", async () => {
  const browser = profile();
  const tab = await asked(browser, "passages");
  await tab.sent.again(tab.talk.branch.value[0].id, attached(tab).id);
  await ready(tab, "birds.txt");
  const again = await browser.tab(tab);
  again.talk.begin();
  await ready(again, "birds.txt");
  await again.documents.choose(again.documents.pending.value[0].id, "passages");
  await again.sender.send("and owls?");
  await answered(again, "where do herons live?", "yes", "and owls?", "yes");
  assert.match(attached(again, 2).text, /owls/);
  assert.notEqual(attached(again, 2).id, attached(again).id);
});

test("a document that the browser has lost is told", async () => {
  const tab = await asked(profile());
  await tab.db.sources.clear();
  const [{ id }] = tab.talk.branch.value;
  await tab.sent.choose(id, attached(tab).id, "passages");
  assert.match(tab.notice.value.text, /birds\.txt is not kept here any more/);
  await tab.sent.again(id, attached(tab).id);
  assert.deepEqual(pendingOf(tab), []);
  assert.equal(tab.talk.tree.value.versions(id).length, 1);
});
