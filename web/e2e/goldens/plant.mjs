// A fault put into the wasm module, whose shaders lie in it as text.

/** The module's bytes with one text for another, which may be shorter, wherever it stands. */
export function planted(module, plant) {
  if (!plant) return module;
  const [from, to] = plant.map((text) => new TextEncoder().encode(text));
  const bytes = new Uint8Array(module.slice(0));
  if (find(bytes, from, 0) < 0 || to.length > from.length) throw new Error(`the module has no "${plant[0]}", or what is to be there is longer`);
  for (let at = find(bytes, from, 0); at >= 0; at = find(bytes, from, at + from.length)) {
    bytes.fill(0x20, at, at + from.length).set(to, at);
  }
  return bytes.buffer;
}

function find(bytes, text, begin) {
  for (let at = bytes.indexOf(text[0], begin); at >= 0; at = bytes.indexOf(text[0], at + 1)) {
    if (text.every((byte, i) => bytes[at + i] === byte)) return at;
  }
  return -1;
}
