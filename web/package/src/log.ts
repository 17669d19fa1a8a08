/**
 * What the engine says about itself, in the way of OpenAI's library: the options `logLevel` and
 * `logger`.
 */

/** How much is told: "off", or this and what is graver. */
export type LogLevel = "off" | "error" | "warn" | "info" | "debug";

/** Who is told; `console` fits. */
export interface Logger {
  error: (message: string, ...rest: unknown[]) => void;
  warn: (message: string, ...rest: unknown[]) => void;
  info: (message: string, ...rest: unknown[]) => void;
  debug: (message: string, ...rest: unknown[]) => void;
}

/** One line. */
export type Log = (level: Exclude<LogLevel, "off">, text: string) => void;

/** The levels, from the one that tells the least. */
export const LEVELS: readonly LogLevel[] = ["off", "error", "warn", "info", "debug"];

/** What is told where the app says nothing. */
export const DEFAULT_LEVEL: LogLevel = "warn";

/** Whether a line of that level is wanted. */
export const isTold = (level: LogLevel, wanted: LogLevel): boolean => LEVELS.indexOf(level) <= LEVELS.indexOf(wanted);

/** Lines to a logger. One that throws does not stop the engine. */
export function logTo(logger: Logger | undefined, wanted: LogLevel = DEFAULT_LEVEL): Log {
  return (level, text) => {
    if (!isTold(level, wanted)) return;
    try {
      (logger ?? console)[level](`peregrine: ${text}`);
    } catch {
      // It is the app's.
    }
  };
}
