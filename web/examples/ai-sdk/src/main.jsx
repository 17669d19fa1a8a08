// AI SDK with React's `useChat`, on the engine of this page: the transport runs `streamText` here instead of calling a server.

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { useChat } from "@ai-sdk/react";
import { convertToModelMessages, streamText } from "ai";
import { StrictMode, useEffect, useMemo, useRef, useState } from "react";
import { createRoot } from "react-dom/client";
import { chosen, load } from "./engine.js";

/** A transport of `useChat` over an engine. */
function transportOf(engine) {
  const provider = createOpenAICompatible({ name: "peregrine", baseURL: "https://peregrine.invalid/v1", fetch: engine.fetch, includeUsage: true });
  const model = provider(engine.info.model.name);
  return {
    async sendMessages({ messages, abortSignal }) {
      // Without the signal nothing would stop the GPU: the library reads a stream to its end, whoever still looks at it.
      return streamText({ model, messages: await convertToModelMessages(messages), abortSignal }).toUIMessageStream({
        onError: (error) => error.message,
      });
    },
    // Nothing goes on where this page does not.
    reconnectToStream: async () => null,
  };
}

const textOf = ({ parts }) => parts.map((part) => (part.type === "text" ? part.text : "")).join("");

function Chat({ engine }) {
  const transport = useMemo(() => transportOf(engine), [engine]);
  const { messages, sendMessage, stop, status, error } = useChat({ transport });
  const question = useRef(null);
  const busy = status === "submitted" || status === "streaming";
  function ask(event) {
    event.preventDefault();
    const text = question.current.value.trim();
    if (!text || busy) return;
    question.current.value = "";
    void sendMessage({ text });
  }
  return (
    <>
      <div id="messages" role="log" aria-label="Conversation">
        {messages.map((message) => (
          <p key={message.id} className={message.role}>
            {textOf(message) || "…"}
          </p>
        ))}
      </div>
      <p role="alert">{error?.message}</p>
      <form onSubmit={ask}>
        <input ref={question} aria-label="Question" placeholder="Ask something" autoComplete="off" />
        <button disabled={busy}>Send</button>
        <button type="button" disabled={!busy} onClick={stop}>
          Stop
        </button>
      </form>
    </>
  );
}

function App() {
  const [engine, setEngine] = useState();
  const [status, setStatus] = useState("");
  const [error, setError] = useState("");
  useEffect(() => {
    let left = false;
    const loading = load(chosen, (text) => left || setStatus(text));
    loading.then(
      (engine) => {
        if (left) return;
        setEngine(engine);
        setStatus(`${engine.info.model.name} on ${engine.info.device.name || "this device"}`);
      },
      (error) => left || (setStatus(""), setError(error.advice ? `${error.message}. ${error.advice}` : error.message)),
    );
    return () => {
      left = true;
      loading.then((engine) => engine.dispose(), () => {});
    };
  }, []);
  return (
    <>
      <h1>AI SDK on Peregrine</h1>
      <form>
        <input name="model" defaultValue={chosen} aria-label="Model" placeholder="embedded, a hub id, or the address of a GGUF file" />
        <button>Load</button>
      </form>
      <p role="status">{status}</p>
      {error && <p role="alert">{error}</p>}
      {engine && <Chat engine={engine} />}
    </>
  );
}

createRoot(document.getElementById("app")).render(
  <StrictMode>
    <App />
  </StrictMode>,
);
