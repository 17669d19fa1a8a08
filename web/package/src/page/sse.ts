/**
 * Server-sent events, as far as OpenAI's API uses them: what `data:` lines say. Not a library's:
 * the package has no dependencies, so that it can be served as it lies, without a bundler.
 */

/** Characters that one line may have; nobody who answers sends more. */
const LONGEST = 1 << 22;

/**
 * The data of one event after the other. What follows the last blank line is told, too. Leaving the
 * loop cuts the connection.
 */
export async function* eventsOf(body: ReadableStream<Uint8Array>): AsyncGenerator<string, void, undefined> {
  let data: string[] = [];
  for await (const line of linesOf(body)) {
    if (line === "") {
      if (data.length > 0) yield data.join("\n");
      data = [];
    } else if (/^data(:|$)/.test(line)) {
      data.push(line.slice(5).replace(/^ /, ""));
    }
  }
  if (data.length > 0) yield data.join("\n");
}

/** Lines end with CR, LF or both; a byte order mark before the first is none of them. */
async function* linesOf(body: ReadableStream<Uint8Array>): AsyncGenerator<string, void, undefined> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      rest += decoder.decode(value, { stream: !done });
      // A CR at the end may be half of a line's end.
      const lines = rest.split(done ? /\r\n|\n|\r/ : /\r\n|\n|\r(?!$)/);
      rest = lines.pop() as string;
      yield* lines;
      if (done) break;
      if (rest.length > LONGEST) throw new Error(`a line of more than ${LONGEST} characters`);
    }
    if (rest !== "") yield rest;
  } finally {
    // Of a body that has ended, or broken, nothing is left to cancel.
    void reader.cancel().catch(() => {});
  }
}
