"""Makes greedy.json: what transformers answers, greedily, as the tiny chat model in its shipped 4-bit form.

    python greedy.py [--hf FOLDER]              # writes greedy.json
    python greedy.py --verify [--hf FOLDER]     # computes everything again and compares

The weights are those of models/tiny/peregrine-tiny-chat-Q4_0.gguf, dequantised by gguf-py and run by FalconH1ForCausalLM in
f32 with all multipliers 1. The tokenizer is HF's `tokenizers` with the GGUF's tokens and merges and the pre-tokenizer that
GGUF calls `smollm` (each digit alone, then GPT-2's pattern). With --hf, the folder the model was made from, its
tokenizer.json and chat_template.jinja must give the same prompts.

greedy.json has `model` (file name), `sha256` (of that file), `stop` (ids that end an answer) and `conversations`, each with
    name          what it is about
    messages      [{role, content}]; rendered by the template with a generation prompt
    prompt        the rendered text
    prompt_ids    its tokens, nothing added (the template begins with the BOS token)
    answer_ids    greedy tokens up to and with the first stop id, or MAX_TOKENS of them
    answer        their text without special tokens
    margin        the smallest difference of the two largest logits at any step: at least MIN_MARGIN
"""

import argparse
import hashlib
import json
import pathlib

import gguf
import jinja2
from container import read_gguf
from make import greedy, hf_model
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

HERE = pathlib.Path(__file__).parent
MODEL = HERE.parent.parent / "models/tiny/peregrine-tiny-chat-Q4_0.gguf"
MAX_TOKENS = 64
MIN_MARGIN = 0.01
STOP_TEXTS = ("<|im_end|>", "<|end_of_text|>")

# name -> candidates; the first without a near tie is kept. A candidate is the user's turns: the answers between them are
# the model's own, cut to the text that a chat client would send back.
CONVERSATIONS = {
    "greeting": [["Hello!"], ["Hi there!"], ["Good morning!"], ["Hey!"]],
    "identity": [["Who are you?"], ["What are you?"], ["What is your name?"]],
    "how-to": [["How do I make a cup of tea?"], ["How can I learn to cook?"], ["How do I boil an egg?"]],
    "capital": [["What is the capital of Italy?"], ["What is the capital of Japan?"], ["What is the capital of Spain?"]],
    "joke": [["Tell me a joke."], ["Do you know a joke?"], ["Make me laugh."]],
    "story": [["Tell me a short story about a fox."], ["Tell me a short story."], ["Write a short story about a boat."]],
    "sum": [["What is 7 plus 5?"], ["What is 3 + 4?"], ["What is 12 minus 4?"]],
    "turns": [
        ["Hi!", "What can you do?", "What is the capital of France?"],
        ["Hello!", "How are you?", "Tell me about cats."],
        ["Hello!", "Who made you?", "What is a river?"],
    ],
    "turns-feelings": [
        ["I feel sad today.", "My cat is ill.", "Thank you for listening."],
        ["I am happy today!", "I passed my exam.", "Thank you!"],
        ["I am bored.", "What could I do?", "Thanks!"],
    ],
    "unanswerable": [["What did I eat for breakfast?"], ["What will the weather be tomorrow?"], ["What is my name?"]],
}


def gguf_text(path):
    """(tokenizer, chat template, bos text) from the GGUF's metadata."""
    fields = gguf.GGUFReader(path).fields
    value = lambda key: fields[f"tokenizer.{key}"].contents()
    assert (value("ggml.model"), value("ggml.pre")) == ("gpt2", "smollm")
    tokens, types = value("ggml.tokens"), value("ggml.token_type")
    merges = [tuple(pair.split(" ")) for pair in value("ggml.merges")]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t, k in zip(tokens, types) if k == 3])
    return tokenizer, value("chat_template"), tokens[value("ggml.bos_token_id")]


def gguf_config(path):
    """The fields that hf_model needs, from the GGUF's metadata."""
    fields = gguf.GGUFReader(path).fields
    value = lambda key: fields[f"falcon-h1.{key}"].contents()
    n, d = value("ssm.time_step_rank"), value("ssm.inner_size")
    names = {t.name: t.shape for t in gguf.GGUFReader(path).tensors}
    return dict(
        vocab_size=int(names["token_embd.weight"][1]), hidden_size=value("embedding_length"),
        num_hidden_layers=value("block_count"), intermediate_size=value("feed_forward_length"),
        num_attention_heads=value("attention.head_count"), num_key_value_heads=value("attention.head_count_kv"),
        head_dim=value("attention.key_length"), mamba_d_ssm=d, mamba_n_heads=n, mamba_d_head=d // n,
        mamba_n_groups=value("ssm.group_count"), mamba_d_state=value("ssm.state_size"), mamba_d_conv=value("ssm.conv_kernel"),
        mamba_rms_norm="blk.0.ssm_norm.weight" in names, tie_word_embeddings="output.weight" not in names,
        rms_norm_eps=value("attention.layer_norm_rms_epsilon"), rope_theta=value("rope.freq_base"),
        max_position_embeddings=value("context_length"),
    )


def renderer(template, bos):
    compiled = jinja2.Environment(trim_blocks=True, lstrip_blocks=True).from_string(template)
    return lambda messages: compiled.render(messages=messages, bos_token=bos, add_generation_prompt=True)


def converse(model, tokenizer, render, stop, turns):
    """Plays the user's turns; returns the last exchange as greedy.json has it."""
    messages = []
    for turn in turns:
        messages.append({"role": "user", "content": turn})
        prompt = render(messages)
        ids = tokenizer.encode(prompt, add_special_tokens=False).ids
        answer, margin = greedy(model, ids, MAX_TOKENS, stop)
        text = tokenizer.decode(answer, skip_special_tokens=True)
        asked = list(messages)
        messages.append({"role": "assistant", "content": text})
    return dict(messages=asked, prompt=prompt, prompt_ids=ids, answer_ids=answer, answer=text, margin=round(margin, 4))


def check_against_folder(folder, tokenizer, bos, conversations):
    """HF's own files have to give the same prompt text and the same ids."""
    original = Tokenizer.from_file(str(folder / "tokenizer.json"))
    render = renderer((folder / "chat_template.jinja").read_text(), bos)
    assert original.get_vocab() == tokenizer.get_vocab(), "tokenizer.json and the GGUF have different vocabularies"
    for c in conversations:
        assert render(c["messages"]) == c["prompt"], c["name"]
        assert original.encode(c["prompt"], add_special_tokens=False).ids == c["prompt_ids"], c["name"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hf", type=pathlib.Path, help="HF folder the model was made from: tokenizer and template are compared")
    parser.add_argument("--model", type=pathlib.Path, default=MODEL)
    parser.add_argument("--verify", action="store_true", help="compare with greedy.json, write nothing")
    options = parser.parse_args()
    tokenizer, template, bos = gguf_text(options.model)
    render = renderer(template, bos)
    stop = [i for i in map(tokenizer.token_to_id, STOP_TEXTS) if i is not None]
    model = hf_model(gguf_config(options.model), read_gguf(options.model))
    conversations = []
    for name, candidates in CONVERSATIONS.items():
        tries = (converse(model, tokenizer, render, stop, turns) for turns in candidates)
        kept = next(c for c in tries if c["margin"] >= MIN_MARGIN)
        conversations.append({"name": name} | kept)
        print(f"{name}: {kept['messages'][-1]['content']!r} -> {kept['answer']!r} ({len(kept['answer_ids'])}, {kept['margin']})")
    if options.hf:
        check_against_folder(options.hf, tokenizer, bos, conversations)
    result = dict(
        model=options.model.name, sha256=hashlib.sha256(options.model.read_bytes()).hexdigest(), stop=stop,
        conversations=conversations,
    )
    path = HERE / "greedy.json"
    if options.verify:
        committed = json.loads(path.read_text())
        for c in [*committed["conversations"], *conversations]:
            assert c.pop("margin") >= MIN_MARGIN  # rounding may change its last digits
        assert committed == result, "greedy.json differs"
    else:
        path.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    main()
