/** The bar at the top. */

import { useApp } from "../app/app.js";
import { hostOf } from "../app/engine.js";
import { t } from "../i18n/index.js";
import { Bird, Icon, SettingsIcon, ThemeIcon } from "./icons.js";
import { focusPage } from "./parts.js";

export function Header() {
  const app = useApp();
  const info = app.models.where.value;
  const host = hostOf(info);
  const { settings } = app;
  const switchTheme = () => {
    const { theme } = settings.value;
    const dark = theme === "dark" || (theme === "system" && matchMedia("(prefers-color-scheme: dark)").matches);
    settings.value = { ...settings.value, theme: dark ? "light" : "dark" };
  };
  const anew = () => {
    app.talk.open(null);
    focusPage();
  };
  return (
    <header class="bar">
      <button type="button" class="icon" id="open-chats" popovertarget="chats" aria-label={t("app.chats")} title={t("app.chats")}>
        <Icon name="menu" />
      </button>
      <div class="brand">
        <Bird />
        <span>Peregrine</span>
      </div>
      <button type="button" class={host ? "chip to-server" : "chip"} id="model-chip" aria-haspopup="dialog" onClick={() => (app.dialog.value = "models")}>
        <span class="chip-model" id="chip-model" dir="auto">
          {info?.model.name ?? t("app.noModel")}
        </span>
        <span class="chip-device" id="chip-device">
          {info?.where === "server" ? t("server.at", { host }) : info?.device.name}
        </span>
      </button>
      <div class="actions">
        <button type="button" class="icon" id="new-chat" aria-label={t("app.newChat")} title={t("app.newChat")} onClick={anew}>
          <Icon name="plus" />
        </button>
        <button type="button" class="icon" id="theme" aria-label={t("app.theme")} title={t("app.theme")} onClick={switchTheme}>
          <ThemeIcon />
        </button>
        <button
          type="button"
          class="icon"
          id="open-settings"
          aria-label={t("app.settings")}
          title={t("app.settings")}
          aria-haspopup="dialog"
          onClick={() => (app.dialog.value = "settings")}
        >
          <SettingsIcon />
        </button>
      </div>
    </header>
  );
}
