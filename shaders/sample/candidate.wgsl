// What the kernels that sample the next token share.
const NO_TOKEN: u32 = 0xffffffffu;

// Tokens that end an answer (Ends in state.rs).
struct Ends {
  count: u32,
  vocab_size: u32,
  unused_0: u32,
  unused_1: u32,
  id: array<vec4<u32>, 4>,
}

struct Candidate {
  logit: f32,
  token: u32,   // NO_TOKEN: none that can be sampled, and no logit
  wrong: u32,   // 1: a logit was no number
  unused: u32,
}

// The likelier one, among equals the lower id.
fn better(a: Candidate, b: Candidate) -> Candidate {
  let second = b.token != NO_TOKEN && (a.token == NO_TOKEN || b.logit > a.logit || (b.logit == a.logit && b.token < a.token));
  return Candidate(select(a.logit, b.logit, second), select(a.token, b.token, second), a.wrong | b.wrong, 0u);
}
