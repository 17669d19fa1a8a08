/** In the dialog for models: a server that may answer where this device cannot. */

import { useSignal } from "@preact/signals";
import { createEngine } from "peregrine";
import { useEffect, useRef } from "preact/hooks";
import { useApp } from "../app/app.js";
import { asOurs } from "../app/faults.js";
import { apiAddress, mayReach } from "../app/policy.js";
import { keepServer, keptServer, type Server } from "../app/server.js";
import { t } from "../i18n/index.js";

/** What an address looks like. */
const EXAMPLE = "http://localhost:8080/v1";

/** Names of the models that a server has, or what it says instead. */
async function modelsOf({ address, apiKey }: Omit<Server, "model">): Promise<string[] | { problem: string }> {
  const server = { baseURL: address, model: "?", when: "always" as const, ...(apiKey && { apiKey }) };
  const engine = await createEngine({ model: "embedded", server, onWhere: () => true, logLevel: "off" });
  const answer = await engine.fetch("/v1/models").finally(() => engine.dispose());
  const { data = [], error } = (await answer.json()) as { data?: { id: string }[]; error?: { message: string; code: string } };
  if (answer.ok) return data.map(({ id }) => id);
  const title = t(error?.code === "server_unreachable" ? "error.server-unreachable" : "error.server-failed");
  return { problem: `${title} ${error?.message ?? answer.status}` };
}

/** What is wrong with an address, or the server that it is of. */
async function serverOf(address: string, name: string, apiKey: string): Promise<{ server: Server; models: string[] } | { problem: string }> {
  const url = apiAddress(address);
  if (!url) return { problem: t("server.wrongAddress", { example: EXAMPLE }) };
  if (!mayReach(url)) return { problem: t("server.forbidden", { origin: url.origin }) };
  const server = { address: url.href, ...(apiKey && { apiKey }) };
  // A key that no header can carry is refused before anybody is asked.
  const models = await modelsOf(server).catch((error: unknown) => ({ problem: `${t("error.settings")} ${asOurs(error).message}` }));
  if ("problem" in models) return models;
  const model = name || models[0];
  return model === undefined ? { problem: t("server.noModel") } : { server: { ...server, model }, models };
}

export function ServerSection() {
  const app = useApp();
  const kept = useSignal(keptServer());
  const opened = useSignal(kept.peek() !== undefined || app.toServer.peek());
  const note = useSignal("");
  const busy = useSignal(false);
  const models = useSignal<readonly string[]>([]);
  const part = useRef<HTMLDetailsElement>(null);
  const [address, name, key] = [useRef<HTMLInputElement>(null), useRef<HTMLInputElement>(null), useRef<HTMLInputElement>(null)];
  // Who comes here from an error wants to write the address.
  useEffect(() => {
    if (!app.toServer.value) return;
    app.toServer.value = false;
    address.current?.focus();
    part.current?.scrollIntoView({ block: "nearest" });
  }, []);
  const take = async (now: boolean) => {
    if (busy.value) return;
    const before = kept.value;
    const url = apiAddress(address.current?.value.trim() ?? "");
    // A key is for the one that it was written for.
    if (key.current && before && url && key.current.value === before.apiKey && new URL(before.address).origin !== url.origin) key.current.value = "";
    busy.value = true;
    note.value = t("server.asking");
    const found = await serverOf(address.current?.value.trim() ?? "", name.current?.value.trim() ?? "", key.current?.value.trim() ?? "");
    busy.value = false;
    if ("problem" in found) return void (note.value = found.problem);
    const { server } = found;
    models.value = found.models;
    app.models.consent.value?.answer(false);
    keepServer(server);
    kept.value = server;
    if (address.current) address.current.value = server.address;
    if (name.current) name.current.value = server.model;
    note.value = t("server.kept");
    const { engine, choice } = app.models;
    if (now) {
      app.dialog.value = undefined;
      void app.models.load({ kind: "server" });
    } else if (choice.value.kind === "server") {
      app.models.leaveServer();
    } else if (!engine.value) {
      app.dialog.value = undefined;
      void app.models.load();
    }
  };
  const forget = () => {
    keepServer(undefined);
    kept.value = undefined;
    note.value = t("server.forgotten");
    for (const { current } of [address, name, key]) if (current) current.value = "";
    address.current?.focus();
    app.models.leaveServer();
  };
  const { value: server } = kept;
  return (
    <details class="further" id="server" ref={part} open={opened.value} onToggle={(event) => (opened.value = event.currentTarget.open)}>
      <summary>{t("server.title")}</summary>
      <form class="plain-form" onSubmit={(event) => (event.preventDefault(), void take(true))}>
        <p class="help" id="server-about">
          {t("server.about")}
        </p>
        <label for="server-address">{t("server.address")}</label>
        <input type="text" id="server-address" inputMode="url" dir="ltr" autocomplete="off" spellcheck={false} placeholder={EXAMPLE} defaultValue={server?.address ?? ""} aria-describedby="server-about" ref={address} />
        <label for="server-model">{t("server.model")}</label>
        <input type="text" id="server-model" dir="ltr" list="server-models" autocomplete="off" spellcheck={false} placeholder={t("server.modelAny")} defaultValue={server?.model ?? ""} ref={name} />
        <datalist id="server-models">
          {models.value.map((id) => (
            <option key={id} value={id} />
          ))}
        </datalist>
        <label for="server-key">{t("server.key")}</label>
        <input type="password" id="server-key" dir="ltr" autocomplete="off" defaultValue={server?.apiKey ?? ""} ref={key} />
        <div class="buttons">
          <button type="submit" class="plain" aria-disabled={busy.value}>
            {t("server.now")}
          </button>
          <button type="button" class="plain" aria-disabled={busy.value} onClick={() => void take(false)}>
            {t("server.keep")}
          </button>
          {server && (
            <button type="button" class="plain" onClick={forget}>
              {t("server.forget")}
            </button>
          )}
        </div>
        <p class="help" id="server-note" role="status">
          {note.value}
        </p>
      </form>
    </details>
  );
}
