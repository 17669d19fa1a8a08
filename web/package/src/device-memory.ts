/** What a browser tells of a device's memory, which is little. */

/** Bytes of a device whose browser tells nothing, as Firefox and Safari. */
const UNKNOWN = 4 * 2 ** 30;

/** Whole gigabytes, as Chromium tells them: a large device has more than it says. */
export const toldGigabytes = (): number | undefined => (globalThis.navigator as { deviceMemory?: number } | undefined)?.deviceMemory;

/**
 * Bytes that a model with its conversation is thought to have here: half of the device's memory. A
 * GPU without memory of its own may use about that much of it, and one that has some has rarely
 * less.
 */
export function likelyMemory(): number {
  const gigabytes = toldGigabytes();
  return (gigabytes === undefined ? UNKNOWN : gigabytes * 2 ** 30) / 2;
}
