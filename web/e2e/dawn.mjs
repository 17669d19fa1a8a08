// Puts WebGPU where a browser has it: Dawn's, by the npm package `webgpu`. Imported for that alone.
// DAWN=backend=null (or what else `create` of that package may be told) asks for another backend.

import { create, globals } from "webgpu";

Object.assign(globalThis, globals);
Object.defineProperty(globalThis, "navigator", { value: { gpu: create(process.env.DAWN ? [process.env.DAWN] : []) }, configurable: true });

// While anything is awaited of it, the package asks Dawn for it again and again, each time by
// `setImmediate`: a core that does nothing else, and is missing where shaders are compiled on the
// CPU. Once a millisecond is often enough.
globalThis.setImmediate = (callback, ...values) => setTimeout(callback, 1, ...values);
