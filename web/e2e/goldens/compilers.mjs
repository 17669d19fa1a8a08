// What the shaders count on from a compiler of WGSL and from the driver behind it: small programs
// whose results are known. Where one differs, the kernels that use it may be wrong, and the name
// says what to look for.

/**
 * Each: WGSL in front, the body of `main`, and what `y` (u32) is then; numbers with a fraction are
 * compared as f32, to 1e-6 of them.
 */
const PROGRAMS = {
  "a function's variables begin at zero on each call": {
    before: "fn kept(i: u32) -> u32 { var w: u32; if (i != 2u) { w = i + 10u; } return w; }",
    body: "for (var i = 0u; i < 4u; i++) { y[i] = kept(i); }",
    expected: [10, 11, 0, 13],
  },
  "a variable with a value begins with it on each pass of a loop": {
    before: "struct S { a: vec4<u32>, b: array<u32, 3> }",
    body: "for (var i = 0u; i < 4u; i++) { var w = S(); if (i != 2u) { w = S(vec4(i + 10u), array(1u, 2u, i)); } y[i] = w.a.x + w.b[2]; }",
    expected: [10, 12, 0, 16],
  },
  "u32 wraps": { body: "y[0] = x[3] * 3u; y[1] = x[3] + 2u; y[2] = x[0] - 1u;", expected: [4294967293, 1, 4294967295] },
  "shifts and masks by variables": { body: "y[0] = x[3] >> x[2]; y[1] = 1u << x[2]; y[2] = (x[1] << 31u) >> 31u;", expected: [1073741823, 4, 1] },
  "bits of signed bytes": { body: "let s = bitcast<i32>(x[5] << 16u) >> 24u; y[0] = u32(s + 200); y[1] = u32(f32(s) * -1.0);", expected: [73, 127] },
  "conversions cut toward zero and stop at the ends": {
    body: "let f = bitcast<f32>(x[4]); y[0] = u32(f); y[1] = u32(f * -1.0); y[2] = u32(f * 4e9); y[3] = u32(i32(f * -1.0) + 5);",
    // The largest u32 that is an f32.
    expected: [2, 0, 4294967040, 3],
  },
  "rounding to even": { body: "for (var i = 0u; i < 4u; i++) { y[i] = u32(round(f32(i) + f32(x[1]) * 0.5)); }", expected: [0, 2, 2, 4] },
  "halves to floats, small ones too": { body: "let v = unpack2x16float(x[6]); y[0] = u32(v.x * 16777216.0); y[1] = u32(v.y * 2048.0);", expected: [1, 2050] },
  "floats to halves, to the nearest": {
    body: "let f = bitcast<f32>(x[7]); y[0] = pack2x16float(vec2(f, f * 2.0)); y[1] = pack2x16float(vec2(1.0 + f32(x[1]) / 4096.0, 3.0));",
    expected: [0x43ff3fff, 0x42003c00],
  },
  "infinities and numbers that are none, by their bits": {
    body: "let inf = bitcast<f32>(x[8]); y[0] = bitcast<u32>(inf) & 0x7f800000u; y[1] = bitcast<u32>(inf * f32(x[0])) & 0x7f800000u; y[2] = select(0u, 1u, inf > 3e38);",
    expected: [0x7f800000, 0x7f800000, 1],
  },
  "exponentials at their ends": { body: "let f = -60.0 * bitcast<f32>(x[4]); y[0] = u32(exp(f) * 10.0); y[1] = u32(exp(f32(x[0])));", expected: [0, 1] },
  "functions to a millionth": {
    body: "let f = bitcast<f32>(x[4]); y[0] = bitcast<u32>(exp(-f)); y[1] = bitcast<u32>(log(f)); y[2] = bitcast<u32>(inverseSqrt(f)); y[3] = bitcast<u32>(f / 3.0);",
    expected: [Math.exp(-2.75), Math.log(2.75), 1 / Math.sqrt(2.75), 2.75 / 3],
  },
  "a loop's next step after continue, and break out of a switch only": {
    body: "for (var i = 0u; i < 4u; i++) { if (i == x[2]) { continue; } switch (i) { case 1u: { y[i] = 7u; break; } default: { y[i] = 9u; } } y[i] += 1u; }",
    expected: [10, 8, 0, 10],
  },
  "no right side where the left decides": { body: "let i = x[3]; if (x[0] == 1u && y[i] > 0u) { y[0] = 1u; } y[1] = 5u;", expected: [0, 5] },
  "components of a vector by number": {
    body: "var v = vec4(0u); for (var i = 0u; i < 4u; i++) { v[i] = i * i + x[1]; } for (var i = 0u; i < 4u; i++) { y[i] = v[3u - i]; }",
    expected: [10, 5, 2, 1],
  },
  "records in uniform memory by number": {
    body: "for (var i = 0u; i < 3u; i++) { y[i] = parts.part[(i + x[2]) % 3u].rows + u32(parts.part[i].scale); }",
    expected: [62, 44, 86],
  },
  "overrides of every kind": {
    before: "override BIG: u32 = 1u; override SHARE: f32 = 1.0; override YES: bool = false; override ROWS: u32 = 4u; var<workgroup> rows: array<vec4<u32>, ROWS * 2u>;",
    body: "rows[x[1] + 3u] = vec4(x[1]); y[0] = BIG; y[1] = u32(SHARE * 1e6); y[2] = select(0u, 1u, YES); y[3] = rows[4].w;",
    constants: { BIG: 4294967295, SHARE: 0.1, YES: 1, ROWS: 16 },
    expected: [4294967295, 100000, 1, 1],
  },
  "workgroup memory between barriers": {
    before: "var<workgroup> shared_: array<u32, 64>; var<workgroup> sum: atomic<u32>; var<workgroup> most: atomic<u32>; var<workgroup> told: u32;",
    threads: 64,
    body: `if (index == 0u) { atomicStore(&sum, 0u); atomicStore(&most, 0u); } shared_[index] = index; workgroupBarrier();
      for (var s = 32u; s > 0u; s >>= 1u) { if (index < s) { shared_[index] += shared_[index + s]; } workgroupBarrier(); }
      atomicAdd(&sum, index); atomicMax(&most, index * 3u); if (index == 63u) { told = shared_[0] + 1u; } workgroupBarrier();
      let uniform_ = workgroupUniformLoad(&told); if (index == 0u) { y[0] = shared_[0]; y[1] = atomicLoad(&sum); y[2] = atomicLoad(&most); y[3] = uniform_; }`,
    expected: [2016, 2016, 189, 2017],
  },
};

const INPUT = (() => {
  const words = new Uint32Array(16);
  words.set([0, 1, 2, 0xffffffff]);
  new Float32Array(words.buffer)[4] = 2.75;
  words[5] = 0x8100;
  words[6] = 0x3c010001;
  new Float32Array(words.buffer)[7] = 1.9993;
  words[8] = 0x7f800000;
  return words;
})();

/** Runs each program on the device; what differs, in words. */
export async function differences(gpu) {
  const device = await (await gpu.requestAdapter()).requestDevice();
  const wrong = [];
  for (const [name, program] of Object.entries(PROGRAMS)) {
    const found = await results(device, program);
    const same = program.expected.every((value, i) => {
      if (Number.isInteger(value)) return found[i] === value;
      return Math.abs(new Float32Array(found.buffer)[i] - value) <= 1e-6 * Math.abs(value);
    });
    if (!same) wrong.push(`${name}: ${found.join(" ")}, expected ${program.expected.join(" ")}`);
  }
  device.destroy();
  return { programs: Object.keys(PROGRAMS).length, wrong };
}

async function results(device, { before = "", body, expected, constants = {}, threads = 1 }) {
  const code = `${before}
struct Part { first: u32, rows: u32, strips: u32, x: u32, scale: f32, a: u32, b: u32, c: u32 }
struct Parts { count: vec4<u32>, part: array<Part, 3> }
@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;
@group(0) @binding(2) var<uniform> parts: Parts;
@compute @workgroup_size(${threads}) fn main(@builtin(local_invocation_index) index: u32) {
  let keep = x[0] + parts.count.x + y[0];
  if (keep > 1000u) { y[0] = keep + index; }
  ${body}
}`;
  device.pushErrorScope("validation");
  const module = device.createShaderModule({ code });
  const pipeline = await device.createComputePipelineAsync({ layout: "auto", compute: { module, entryPoint: "main", constants } });
  const storage = (size, usage = 0) => device.createBuffer({ size, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | usage });
  const [x, y] = [storage(INPUT.byteLength), storage(16, GPUBufferUsage.COPY_SRC)];
  device.queue.writeBuffer(x, 0, INPUT);
  const parts = device.createBuffer({ size: 112, usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST });
  const words = new Uint32Array(28);
  for (let i = 0; i < 3; i++) {
    words[4 + 8 * i + 1] = 20 * (i + 1);
    new Float32Array(words.buffer)[4 + 8 * i + 4] = 2 + 22 * i;
  }
  device.queue.writeBuffer(parts, 0, words);
  const read = device.createBuffer({ size: 16, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  const entries = [x, y, parts].map((buffer, binding) => ({ binding, resource: { buffer } }));
  pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }));
  pass.dispatchWorkgroups(1);
  pass.end();
  encoder.copyBufferToBuffer(y, 0, read, 0, 16);
  device.queue.submit([encoder.finish()]);
  const error = await device.popErrorScope();
  if (error) throw new Error(error.message);
  await read.mapAsync(GPUMapMode.READ);
  return new Uint32Array(read.getMappedRange().slice(0)).subarray(0, expected.length);
}
