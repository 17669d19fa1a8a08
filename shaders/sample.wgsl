// The likeliest token (greedy decoding), among equals the lowest id. It becomes the next step's input without leaving the GPU.
// After an end token, steps that are already on their way leave states and control as they are. One workgroup.
@group(0) @binding(0) var<uniform> ends: Ends;
@group(0) @binding(1) var<storage, read> logits: array<f32>;         // [V]
@group(0) @binding(2) var<storage, read_write> kept: array<f32>;     // [V]: the logits of the last step that counted
@group(0) @binding(3) var<storage, read_write> ids: array<u32>;      // [T]; [0] becomes the token
@group(0) @binding(4) var<storage, read_write> control: array<u32>;  // [0]: 1 after an end token, [1]: the token, [2]: 1 after a NaN

// Tokens that end an answer (Ends in model.rs).
struct Ends {
  count: u32,
  vocab_size: u32,
  unused_0: u32,
  unused_1: u32,
  id: array<vec4<u32>, 4>,
}

override THREADS: u32 = 256u;

var<workgroup> best: array<f32, THREADS>;
var<workgroup> best_id: array<u32, THREADS>;
var<workgroup> wrong: array<u32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(local_invocation_index) index: u32) {
  let halted = control[0] != 0u;
  var highest = -3.4028235e38;
  var id = 0xffffffffu;
  var is_wrong = 0u;
  for (var i = index; i < ends.vocab_size; i += THREADS) {
    let logit = logits[i];
    if (!halted) {
      kept[i] = logit;
    }
    // A NaN fails every comparison; written so that no compiler may assume there is none.
    if ((bitcast<u32>(logit) & 0x7fffffffu) >= 0x7f800000u) {
      // NaN and plus infinity; minus infinity is a token that cannot be drawn.
      is_wrong |= select(1u, 0u, bitcast<u32>(logit) == 0xff800000u);
    } else if (logit > highest || id == 0xffffffffu) {
      highest = logit;
      id = i;
    }
  }
  best[index] = highest;
  best_id[index] = id;
  wrong[index] = is_wrong;
  for (var reach = THREADS / 2u; reach > 0u; reach = reach / 2u) {
    workgroupBarrier();
    if (index < reach) {
      let other = index + reach;
      if (best_id[other] != 0xffffffffu
        && (best[other] > best[index] || (best[other] == best[index] && best_id[other] < best_id[index]))) {
        best[index] = best[other];
        best_id[index] = best_id[other];
      }
      wrong[index] |= wrong[other];
    }
  }
  if (halted || index != 0u) {
    return;
  }
  // No finite logit at all is as wrong as a NaN; the id must stay inside the vocabulary whatever happens.
  let failed = wrong[0] != 0u || best_id[0] == 0xffffffffu;
  let token = select(best_id[0], 0u, failed);
  var is_end = failed;
  for (var i = 0u; i < ends.count; i++) {
    is_end = is_end || ends.id[i / 4u][i % 4u] == token;
  }
  ids[0] = token;
  control[0] = u32(is_end);
  control[1] = token;
  control[2] = u32(failed);
}
