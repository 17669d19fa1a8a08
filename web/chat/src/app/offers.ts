/** The models that the page offers: official checkpoints of every size. */

import type { ModelShape } from "peregrine";
import { t, type Key } from "../i18n/index.js";
import type { Choice } from "./models.js";
import { keptServer } from "./server.js";

/** An official checkpoint. */
export interface Offer {
  model: string;
  name: string;
  about: Key;
  /** Bytes of the file, about. */
  bytes: number;
  /** How many languages it was made for. */
  languages: number;
  shape: ModelShape;
}

const LICENSE = "Falcon LLM License";
/** The license of all official checkpoints. */
export const license = LICENSE;

const instruct = (size: string) => `tiiuae/Falcon-H1-${size}-Instruct-GGUF:Q4_K_M`;

export const OFFERS: readonly Offer[] = [
  {
    model: "tiiuae/Falcon-H1-Tiny-90M-Instruct-GGUF:Q8_0",
    name: "Falcon-H1 Tiny 90M Instruct",
    about: "models.about.tiny",
    bytes: 98e6,
    languages: 1,
    shape: { base: 111_749_616, layers: 24, width: 128, context: 262_144 },
  },
  {
    model: instruct("0.5B"),
    name: "Falcon-H1 0.5B Instruct",
    about: "models.about.05",
    bytes: 315e6,
    languages: 1,
    shape: { base: 361_189_632, layers: 36, width: 128, context: 16_384 },
  },
  {
    model: instruct("1.5B"),
    name: "Falcon-H1 1.5B Instruct",
    about: "models.about.15",
    bytes: 0.945e9,
    languages: 18,
    shape: { base: 1_062_854_752, layers: 24, width: 256, context: 131_072 },
  },
  {
    model: instruct("1.5B-Deep"),
    name: "Falcon-H1 1.5B Deep Instruct",
    about: "models.about.15deep",
    bytes: 0.938e9,
    languages: 18,
    shape: { base: 1_068_797_056, layers: 66, width: 256, context: 131_072 },
  },
  {
    model: instruct("3B"),
    name: "Falcon-H1 3B Instruct",
    about: "models.about.3",
    bytes: 1.89e9,
    languages: 18,
    shape: { base: 2_079_492_400, layers: 32, width: 256, context: 131_072 },
  },
  {
    model: instruct("7B"),
    name: "Falcon-H1 7B Instruct",
    about: "models.about.7",
    bytes: 4.6e9,
    languages: 18,
    shape: { base: 4_799_226_608, layers: 44, width: 256, context: 262_144 },
  },
];

/** What is recommended where there is a real GPU. */
export const RECOMMENDED = OFFERS.find(({ name }) => name.includes(" 0.5B")) as Offer;

/** The name of a choice for people. */
export function nameOf(choice: Choice): string {
  if (choice.kind === "file") return choice.file.name;
  if (choice.kind === "folder") return choice.files[0]?.webkitRelativePath.split("/")[0] || t("models.folder");
  if (choice.kind === "embedded") return t("load.demo");
  if (choice.kind === "server") return keptServer()?.model ?? "";
  const quantized = /^stored:.*?([^/]+?)\/?(?:@[0-9a-f]{8})?:(\w+)$/.exec(choice.model);
  if (quantized) return `${quantized[1]} ${quantized[2]}`;
  return OFFERS.find(({ model }) => model === choice.model)?.name ?? choice.model;
}
