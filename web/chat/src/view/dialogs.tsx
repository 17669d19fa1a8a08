/** The dialogs of the page. What stands in them is loaded later. */

import { t } from "../i18n/index.js";
import { later } from "./later.js";
import { Dialog } from "./parts.js";

const sheets = () => import("./sheets.js");
const Instructions = later(async () => (await sheets()).InstructionsSheet);
const Trash = later(async () => (await sheets()).TrashSheet);
const Keys = later(async () => (await sheets()).KeysSheet);
const Settings = later(async () => (await import("./settings.js")).SettingsSheet);
const Models = later(async () => (await import("./models.js")).ModelsSheet);

export const Dialogs = () => (
  <>
    <Dialog name="settings" title={t("settings.title")} close={t("settings.close")}>
      <Settings />
    </Dialog>
    <Dialog name="models" title={t("models.title")} close={t("models.close")}>
      <Models />
    </Dialog>
    <Dialog name="instructions" title={t("instructions.title")} close={t("instructions.close")}>
      <Instructions />
    </Dialog>
    <Dialog name="trash" title={t("trash.title")} close={t("app.close")}>
      <Trash />
    </Dialog>
    <Dialog name="keys" title={t("keys.title")} close={t("keys.close")}>
      <Keys />
    </Dialog>
  </>
);
