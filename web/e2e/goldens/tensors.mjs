// Files of numbers: safetensors, NumPy's, and the states that an engine saves.

/** The tensors of a safetensors file (f32 and i32), and its metadata. */
export function safetensors(buffer) {
  const header = Number(new DataView(buffer).getBigUint64(0, true));
  const { __metadata__: metadata, ...tensors } = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, header)));
  const values = ({ dtype, data_offsets: [from, to] }) => {
    const bytes = buffer.slice(8 + header + from, 8 + header + to);
    return dtype === "I32" ? new Int32Array(bytes) : new Float32Array(bytes);
  };
  return { metadata, tensors: Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [name, values(tensor)])) };
}

/** The values of a NumPy file of f32. */
export function npy(buffer) {
  const header = 10 + new DataView(buffer).getUint16(8, true);
  return new Float32Array(buffer.slice(header));
}

/**
 * Keys, values, convolution and SSM states, layer by layer, of a state saved with keys and values
 * in f32, under the names of tests/golden/README.md. `session/saved.rs` says how they lie.
 */
export function savedState(buffer, config) {
  const view = new DataView(buffer);
  const header = view.getUint32(12, true);
  const { ids, pending } = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 16, header)));
  const position = ids.length - pending;
  const { mamba_d_conv: width, mamba_d_ssm: inner, mamba_d_state: state, mamba_n_groups: groups } = config;
  let at = 16 + header;
  const take = (count) => {
    const values = new Float32Array(buffer.slice(at, at + 4 * count));
    at += 4 * count;
    return values;
  };
  // A buffer on the GPU has whole pieces of 16 bytes.
  const buffered = (count) => take(Math.ceil(count / 4) * 4).subarray(0, count);
  const tensors = {};
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const row = config.num_key_value_heads * config.head_dim;
    tensors[`k.${layer}`] = take(position * row);
    tensors[`v.${layer}`] = take(position * row);
    const channels = inner + 2 * groups * state;
    const ring = buffered(channels * width);
    const last = new Float32Array(channels * (width - 1));
    for (let i = 0; i < last.length; i++) {
      const [channel, age] = [Math.floor(i / (width - 1)), (i % (width - 1)) + 1];
      last[i] = ring[channel * width + ((position + age) % width)];
    }
    tensors[`conv_state.${layer}`] = last;
    tensors[`ssm_state.${layer}`] = buffered(inner * state);
  }
  return { ids, position, tensors };
}
