// How many tokens of the step a linear layer works on.
override FINAL: u32 = 0u;  // 1: the LM head, which sees only the tokens from now.first on

fn tokens_in() -> u32 {
  return now.tokens - FINAL * now.first;
}
