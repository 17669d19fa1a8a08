//: kernel: candidate weights scan next_token
// The token that is sampled at a temperature becomes the next step's input: as sample.wgsl does
// with the likeliest. The cuts of top-k and top-p are found exactly among the tokens that
// threshold.wgsl has listed, digit by digit of their differences and then of their ids; the random
// point is walked to by slices of the vocabulary, then inside of one. One workgroup.
@group(0) @binding(0) var<uniform> ends: Ends;
@group(0) @binding(1) var<uniform> params: SamplingParams;
@group(0) @binding(2) var<storage, read> saved_logits: array<f32>;   // [V]
@group(0) @binding(3) var<storage, read> found: array<Candidate>;    // [SLICES]
// [SLICES + 2], from threshold.wgsl
@group(0) @binding(4) var<storage, read> slices: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read> list: array<u32>;           // [V], from threshold.wgsl
@group(0) @binding(6) var<storage, read_write> ids: array<u32>;      // as in sample.wgsl
@group(0) @binding(7) var<storage, read_write> control: array<u32>;  // as in sample.wgsl

const DIGITS: u32 = 256u;

// The last token in order that is kept, and the sum up to it.
struct Edge {
  difference: u32,
  token: u32,
  sum: vec3<u32>,
}

// Where a pass over the list has found the cut: a digit, how many tokens have it, the sums before
// and with them.
struct Hit {
  digit: u32,
  count: u32,
  before: vec3<u32>,
  sum: vec3<u32>,
}

struct Place {
  slice: u32,
  before: vec3<u32>,
}

var<workgroup> digits: array<atomic<u32>, 768>;        // [3, DIGITS]
var<workgroup> lower: array<atomic<u32>, SLICES>;      // what may be sampled of each slice
var<workgroup> upper: array<atomic<u32>, SLICES>;
var<workgroup> hit: Hit;
var<workgroup> place: Place;
var<workgroup> halted: u32;

// How far numbers below `width` must be shifted to be digits.
fn shift_of(width: u32) -> u32 {
  return max(32u - countLeadingZeros(width - 1u), 8u) - 8u;
}

// The cut at `count` tokens or at the weight `goal`. Every invocation must call it, with the same
// arguments but for `index`.
fn find_edge(best: f32, index: u32, weighted: bool, count: u32, goal: vec2<u32>) -> Edge {
  let length = (ends.vocab_size + SLICES - 1u) / SLICES;
  let teams = THREADS / SLICES;
  let start = (index / teams) * length;
  let listed = slices[index / teams].x;
  let range = slices[SLICES];
  var before = vec3<u32>(range.z, range.w, slices[SLICES + 1u].x);
  var low = bin_start(range.x);
  var width = bin_start(range.y + 1u) - low;
  var by_token = false;
  var edge = Edge(NEVER, NO_TOKEN, before);
  loop {
    let shift = shift_of(width);
    for (var i = index; i < 3u * DIGITS; i += THREADS) {
      atomicStore(&digits[i], 0u);
    }
    if (index == 0u) {
      // What is not found cannot be looked for again.
      hit = Hit(DIGITS - 1u, 1u, before, before);
    }
    workgroupBarrier();
    for (var i = index % teams; i < listed; i += teams) {
      let token = list[start + i];
      let away = difference(best, saved_logits[token]);
      let at = select(away, token, by_token) - low;
      if (at < width && (!by_token || away == edge.difference)) {
        let one = tally(weight(away, params.scale));
        let digit = at >> shift;
        atomicAdd(&digits[digit], one.x);
        atomicAdd(&digits[DIGITS + digit], one.y);
        atomicAdd(&digits[2u * DIGITS + digit], one.z);
      }
    }
    workgroupBarrier();
    let share = DIGITS / THREADS;
    var mine = vec3<u32>();
    for (var i = index * share; i < (index + 1u) * share; i++) {
      mine += digit_sum(i);
    }
    var sum = before + scan(mine, index) - mine;
    for (var i = index * share; i < (index + 1u) * share; i++) {
      let next = sum + digit_sum(i);
      if (is_cut(sum, next, weighted, count, goal)) {
        hit = Hit(i, next.x - sum.x, sum, next);
      }
      sum = next;
    }
    let outcome = workgroupUniformLoad(&hit);
    // The last digit's range may be cut short: what is beyond it is not on the list.
    let end = low + width;
    low += outcome.digit << shift;
    width = min(1u << shift, end - low);
    before = outcome.before;
    edge.sum = outcome.sum;
    if (by_token) {
      edge.token = low + width - 1u;
    } else {
      edge.difference = low + width - 1u;
    }
    if (outcome.count <= 1u || (by_token && width == 1u)) {
      break;
    }
    if (width == 1u) {
      // All that are left have the same difference: the lower ids come first.
      by_token = true;
      low = 0u;
      width = ends.vocab_size;
    }
  }
  return edge;
}

fn digit_sum(i: u32) -> vec3<u32> {
  return vec3<u32>(atomicLoad(&digits[i]), atomicLoad(&digits[DIGITS + i]), atomicLoad(&digits[2u * DIGITS + i]));
}

// What a token weighs in the sample.
fn sampled_weight(token: u32, best: f32, edge: Edge) -> u32 {
  let away = difference(best, saved_logits[token]);
  let w = weight(away, params.scale);
  let before = away < edge.difference || (away == edge.difference && token <= edge.token);
  return select(0u, w, before && w >= params.least);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(local_invocation_index) index: u32) {
  if (index == 0u) {
    halted = control[0];
  }
  if (workgroupUniformLoad(&halted) != 0u) {
    return;
  }
  let likely = likeliest();
  if (likely.wrong != 0u || likely.token == NO_TOKEN) {
    // No finite logit at all is as wrong as a NaN.
    if (index == 0u) {
      store_token(0u, true);
    }
    return;
  }
  let best = likely.logit;
  var edge = Edge(NEVER, NO_TOKEN, vec3<u32>(0u, slices[SLICES + 1u].yz));
  if (params.top_k > 0u && params.top_k < ends.vocab_size) {
    edge = find_edge(best, index, false, params.top_k, vec2<u32>());
  }
  if (params.top_p > 0u) {
    edge = find_edge(best, index, true, 0u, part(params.top_p, total(edge.sum)));
  }

  if (index < SLICES) {
    atomicStore(&lower[index], slices[index].y);
    atomicStore(&upper[index], slices[index].z);
  }
  workgroupBarrier();
  let length = (ends.vocab_size + SLICES - 1u) / SLICES;
  let teams = THREADS / SLICES;
  let slice = index / teams;
  for (var i = index % teams; i < slices[slice].x; i += teams) {
    let one = tally(sampled_weight(list[slice * length + i], best, edge));
    atomicAdd(&lower[slice], one.y);
    atomicAdd(&upper[slice], one.z);
  }
  workgroupBarrier();
  var mine = vec3<u32>();
  if (index < SLICES) {
    mine = vec3<u32>(0u, atomicLoad(&lower[index]), atomicLoad(&upper[index]));
  }
  var upto = scan(mine, index);
  let point = part(params.random, total(sums[THREADS - 1u]));
  if (!at_least(point, total(upto)) && at_least(point, total(upto - mine))) {
    place = Place(index, upto - mine);
  }
  let here = workgroupUniformLoad(&place);

  // Neighboring tokens to each invocation.
  let share = (length + THREADS - 1u) / THREADS;
  let start = here.slice * length + index * share;
  let end = min(min(start + share, (here.slice + 1u) * length), ends.vocab_size);
  mine = vec3<u32>();
  for (var token = start; token < end; token++) {
    mine += tally(sampled_weight(token, best, edge));
  }
  upto = here.before + scan(mine, index);
  if (at_least(point, total(upto)) || !at_least(point, total(upto - mine))) {
    return;
  }
  var reached = upto - mine;
  for (var token = start; token < end; token++) {
    reached += tally(sampled_weight(token, best, edge));
    if (!at_least(point, total(reached))) {
      store_token(token, false);
      return;
    }
  }
}
