"use client";

import { createEngine } from "peregrine";
import "peregrine/embedded";
import { useEffect, useState } from "react";

export default function Page() {
  const [answer, setAnswer] = useState("");
  const [error, setError] = useState("");
  useEffect(() => {
    const stop = new AbortController();
    const ask = async () => {
      const model = new URLSearchParams(location.search).get("model") ?? "/model.gguf";
      const engine = await createEngine({ model, cache: false, signal: stop.signal });
      const reply = await engine.chat.completions.create({
        messages: [{ role: "user", content: "What is the capital of Italy?" }],
        temperature: 0,
      });
      setAnswer(reply.choices[0].message.content);
      await engine.dispose();
    };
    ask().catch((thrown) => stop.signal.aborted || setError(String(thrown)));
    return () => stop.abort();
  }, []);
  return (
    <>
      <p id="answer">{answer}</p>
      <p id="error">{error}</p>
    </>
  );
}
