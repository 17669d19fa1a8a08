import assert from "node:assert/strict";
import test from "node:test";
import { describe } from "../dist/worker/describe.js";

const info = (selfCheck, device = {}) => ({
  model: {},
  device: { software: false, reduction: "workgroup", shapes: "hardware", ...device },
  memory: {},
  selfCheck,
});

test("why the device is driven as it is", () => {
  const facts = { vendor: "", architecture: "", subgroups: true };
  const why = (selfCheck, gpu = {}, device = {}) => describe({ info: () => info(selfCheck, device) }, { kind: "gpu", way: { facts } }, { gpu }, {}, 0).device.why;
  const right = why([{ variant: "GPU shapes, subgroup sums" }], {}, { reduction: "subgroup" });
  assert.deepEqual(right, { kind: "there is a GPU", reduction: "the GPU has subgroups of at least 8 lanes", shapes: "a GPU computes", selfCheck: "results are right, compared with the CPU" });
  // What failed has nothing to do with sums or shapes.
  const matrices = [{ variant: "GPU shapes, subgroup sums, cooperative matrices", failed: "x" }, { variant: "GPU shapes, subgroup sums" }];
  assert.deepEqual({ ...why(matrices, {}, { reduction: "subgroup" }), selfCheck: "" }, { ...right, selfCheck: "" });
  const sums = [{ variant: "GPU shapes, subgroup sums", failed: "x" }, { variant: "GPU shapes, workgroup sums" }];
  for (const gpu of [{}, { reduction: "subgroup", shapes: "hardware" }]) {
    const { reduction, shapes } = why(sums, gpu);
    assert.deepEqual([reduction, shapes], ["the other way fails its self-check", gpu.shapes ? "the app asked for it" : "a GPU computes"]);
  }
  const lost = [{ variant: "GPU shapes, subgroup sums", failed: "the device was lost" }, { variant: "GPU shapes, workgroup sums", failed: "x", isWrong: true }];
  assert.equal(why(lost.slice(0, 1)).selfCheck, "could not be used: GPU shapes, subgroup sums (the device was lost)");
  assert.equal(
    why(lost).selfCheck,
    "not used, since they compute wrong results on this device: GPU shapes, workgroup sums (x); could not be used: GPU shapes, subgroup sums (the device was lost)",
  );
  const limits = [{ variant: "GPU shapes, workgroup sums", failed: "x" }, { variant: "GPU shapes, workgroup sums, baseline limits" }];
  assert.equal(why(limits).reduction, "subgroups gain nothing on this adapter");
  const other = [...limits.map((way) => ({ ...way, failed: "x" })), { variant: "software shapes, workgroup sums" }];
  assert.deepEqual([why(other, {}, { shapes: "software" }).shapes, why(other, {}, { shapes: "software" }).reduction], ["the other way fails its self-check", "subgroups gain nothing on this adapter"]);
});

test("why the processor computes, and that nothing is said of a GPU that does not", () => {
  const onCpu = (place, selfCheck) => describe({ info: () => info(selfCheck, { kind: "cpu", tokensPerSecond: 5 }) }, place, { gpu: {} }, {}, 0).device;
  const { why, tokensPerSecond, vendor, subgroups } = onCpu({ kind: "cpu", why: "there is no GPU" }, [{ variant: "the processor" }]);
  assert.deepEqual([why.kind, why.selfCheck, tokensPerSecond], ["there is no GPU", "not needed: no driver has made these kernels", 5]);
  assert.deepEqual([vendor, subgroups], ["", false]);
});
