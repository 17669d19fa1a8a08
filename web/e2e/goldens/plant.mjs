// A fault put into the wasm module, whose shaders lie in it as text.

/** The module's bytes with one text for another, which may be shorter. */
export function planted(module, plant) {
  if (!plant) return module;
  const [from, to] = plant.map((text) => new TextEncoder().encode(text));
  const bytes = new Uint8Array(module.slice(0));
  const at = find(bytes, from);
  if (at < 0 || to.length > from.length) throw new Error(`the module has no "${plant[0]}", or what is to be there is longer`);
  bytes.fill(0x20, at, at + from.length).set(to, at);
  return bytes.buffer;
}

function find(bytes, text) {
  for (let at = bytes.indexOf(text[0]); at >= 0; at = bytes.indexOf(text[0], at + 1)) {
    if (text.every((byte, i) => bytes[at + i] === byte)) return at;
  }
  return -1;
}
