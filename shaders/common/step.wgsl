// The one uniform that changes from step to step; written once, read by every kernel (Step in
// plan.rs).
struct Step {
  tokens: u32,    // T: tokens in this step
  position: u32,  // position of the first of them
  first: u32,     // first token whose logits are wanted
  splits: u32,    // of the context, each a workgroup's, in decode
}
