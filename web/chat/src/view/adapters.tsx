/** Adapters in the dialog for models. Loaded with it. */

import { useRef } from "preact/hooks";
import { changes } from "../app/adapters.js";
import type { App } from "../app/app.js";
import { bytes, t } from "../i18n/index.js";

export function Adapters({ app }: { app: App }) {
  const chooser = useRef<HTMLInputElement>(null);
  void changes.value;
  const info = app.models.engine.value?.info;
  const adapters = info?.where === "device" ? info.adapters : [];
  const choose = (input: HTMLInputElement) => {
    const files = [...(input.files ?? [])];
    input.value = "";
    if (files.length > 0) void app.take(files);
  };
  const remove = async (id: string) => {
    await app.removeAdapter(id);
    document.getElementById("open-adapter")?.focus();
  };
  return (
    <section aria-labelledby="adapters-title">
      <h3 id="adapters-title">{t("adapters.title")}</h3>
      {adapters.length > 0 && (
        <ul class="models" id="adapters">
          {adapters.map(({ id, bytes: size, ranks, targets }) => (
            <li key={id}>
              <div>
                <strong>{id}</strong>
                <span>{t("adapters.facts", { bytes: bytes(size), rank: [...new Set(ranks)].join("–"), targets: targets.map(({ module }) => module).join(", ") })}</span>
              </div>
              <button type="button" class="plain" aria-label={t("adapters.removeLabel", { name: id })} onClick={() => void remove(id)}>
                {t("adapters.remove")}
              </button>
            </li>
          ))}
        </ul>
      )}
      <div class="buttons">
        <button type="button" class="plain" id="open-adapter" onClick={() => chooser.current?.click()}>
          {t("adapters.open")}
        </button>
        <input type="file" id="adapter-files" hidden ref={(input) => ((chooser.current = input), input?.setAttribute("webkitdirectory", ""))} onChange={(event) => choose(event.currentTarget)} />
      </div>
      <p class="help">{t("adapters.help")}</p>
    </section>
  );
}
