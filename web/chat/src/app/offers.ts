/** The models that the page offers: official checkpoints of every size. */

import { t, type Key } from "../i18n/index.js";
import type { Choice } from "./models.js";

/** An official checkpoint. */
export interface Offer {
  model: string;
  name: string;
  about: Key;
  /** Bytes of the file, about. */
  bytes: number;
  /** How many languages it was made for. */
  languages: number;
}

const LICENSE = "Falcon LLM License";
/** The licence of all official checkpoints. */
export const license = LICENSE;

const instruct = (size: string) => `tiiuae/Falcon-H1-${size}-Instruct-GGUF:Q4_K_M`;

export const OFFERS: readonly Offer[] = [
  { model: "tiiuae/Falcon-H1-Tiny-90M-Instruct-GGUF:Q8_0", name: "Falcon-H1 Tiny 90M Instruct", about: "models.about.tiny", bytes: 0.1e9, languages: 1 },
  { model: instruct("0.5B"), name: "Falcon-H1 0.5B Instruct", about: "models.about.05", bytes: 0.34e9, languages: 1 },
  { model: instruct("1.5B"), name: "Falcon-H1 1.5B Instruct", about: "models.about.15", bytes: 0.95e9, languages: 18 },
  { model: instruct("1.5B-Deep"), name: "Falcon-H1 1.5B Deep Instruct", about: "models.about.15deep", bytes: 0.94e9, languages: 18 },
  { model: instruct("3B"), name: "Falcon-H1 3B Instruct", about: "models.about.3", bytes: 1.95e9, languages: 18 },
  { model: instruct("7B"), name: "Falcon-H1 7B Instruct", about: "models.about.7", bytes: 4.6e9, languages: 18 },
];

/** The name of a choice for people. */
export function nameOf(choice: Choice): string {
  if (choice.kind === "file") return choice.file.name;
  if (choice.kind === "embedded") return t("load.demo");
  return OFFERS.find(({ model }) => model === choice.model)?.name ?? choice.model;
}
