"""Checks of the recipe that need no training: `python -m unittest test_recipe` in this folder."""

import os
import random
import re
import sys
import tempfile
import unittest

import numpy as np
import torch

import mix
import pack
from grammar import expand, knowledge, stories

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "train"))
import export  # noqa: E402
import model  # noqa: E402
import train  # noqa: E402

WORDS = {"m": {"he", "him", "his", "himself"}, "w": {"she", "her", "hers", "herself"}}


class Grammars(unittest.TestCase):
    def test_every_line_makes_whole_conversations(self):
        r = random.Random(1)
        for name in ("chat", "unknown", "feelings", "memory", "everyday"):
            for line in expand.lines(f"{name}.txt"):
                for _ in range(20):
                    turns = expand.conversation(line, r)
                    self.assertEqual(len(turns) % 2, 0)
                    for turn in turns:
                        self.assertTrue(turn and not re.search(r"[{}|]|  |\[(a )?[a-z]+\d?\]", turn), (name, turn))

    def test_a_broken_line_is_an_error(self):
        with self.assertRaises(ValueError):
            expand.conversation("Hi || Hello || Bye", random.Random(1))
        with self.assertRaises(ValueError):
            expand.conversation("I like [nothing] || Good", random.Random(1))

    def test_pronouns_of_a_story_stay_the_same(self):
        """A story with one person who has a pronoun uses no pronoun of the other kind."""
        r = random.Random(2)
        mixed = sum(self.mixes(stories.tell(r)[1]) for _ in range(3000))
        # Some plots tell of another person ("an old man who had not smiled"); the hero's pronoun never changes.
        self.assertEqual(mixed, 0)
        self.assertTrue(self.mixes("Once there was a girl named Ann. She lost his hat. He cried."))

    @staticmethod
    def mixes(story):
        said = set(re.findall(r"[a-z]+", story.lower()))
        return bool(said & WORDS["m"]) and bool(said & WORDS["w"])

    def test_sums_are_right(self):
        r = random.Random(3)
        for _ in range(2000):
            for answer in knowledge.sums(r)[1::2]:
                a, word, b, result = re.fullmatch(r"(\d+) (plus|minus|times) (\d+) is (\d+)\.", answer).groups()
                a, b = int(a), int(b)
                self.assertEqual(int(result), {"plus": a + b, "minus": a - b, "times": a * b}[word])


class Mix(unittest.TestCase):
    def test_prompts_are_noticed(self):
        prompts = {mix.normal("How much is 14 plus 8?")}
        self.assertTrue(mix.prompt_in(["Hi", "Hello!", "how much is 14 plus 8", "22"], prompts))
        self.assertFalse(mix.prompt_in(["How much is 14 plus 9?", "23"], prompts))

    def test_the_check_of_the_written_mix_can_fail(self):
        with tempfile.TemporaryDirectory() as folder:
            for text, status in (("What is 1 plus 1?", 0), ("Where is my hat?", 1)):
                with open(f"{folder}/train.txt", "w") as f:
                    f.write(mix.template([text, "I do not know."]))
                self.assertEqual(mix.check(folder, {"where is my hat"}, set()), status)

    def test_bad_answers_of_the_teacher(self):
        self.assertFalse(mix.good_answer("What is glass?", "A glass is a glass of water. It's made of glass, made of a material called glass."))
        self.assertFalse(mix.good_answer("How do trees grow?", "The weather in the city is very nice today, and people go out."))
        self.assertTrue(mix.good_answer("How do trees grow?", "Trees grow from seeds. They need water, light, and good soil to get tall."))


class Data(unittest.TestCase):
    def test_packing_keeps_every_document_whole(self):
        r = random.Random(4)
        docs = [np.full(r.randint(5, 700), i + 10, np.uint16) for i in range(300)]
        rows = pack.pack(docs)
        counts = np.bincount(rows.ravel(), minlength=310)
        self.assertEqual([len(d) for d in docs], counts[10:310].tolist())
        for row in rows:
            used = row[row > 0]
            self.assertEqual((np.diff(used.astype(int)) != 0).sum() + 1, len(set(used.tolist())), "a document is in one piece")

    def test_loss_weights(self):
        # pad 0, bos 1, im_start 3, im_end 4, assistant 9, user 8, line break 7
        ids = [0, 1, 3, 4, 9]
        row = torch.tensor([[1, 3, 8, 7, 50, 4, 7, 3, 9, 7, 60, 61, 4, 7, 1, 3, 8, 7, 50, 0]])
        got = train.loss_weights(row, ids)[0].tolist()
        a, u = 1.0, 0.3
        want = [0, u, u, u, u, u, u, u, u, u, a, a, a, u, 0, u, u, u, u, 0]
        self.assertTrue(np.allclose(got, want), got)

    def test_rounding_to_q4_0(self):
        w = torch.randn(4, 64, generator=torch.Generator().manual_seed(1))
        q = train.round_q4_0(w)
        self.assertTrue(torch.allclose(train.round_q4_0(q), q, atol=2e-3), "rounded again, it stays")
        self.assertGreater((q - w).abs().max(), 1e-3)
        self.assertTrue(all(len(set(block.tolist())) <= 16 for block in q.reshape(-1, 32)))


class Model(unittest.TestCase):
    """`model.py` on random weights, narrow and in f32."""

    def setUp(self):
        self.c = dict(model.CONFIG, vocab_size=96, num_hidden_layers=2, hidden_size=64, mamba_d_ssm=128, mamba_n_heads=2,
                      intermediate_size=64, num_attention_heads=2, num_key_value_heads=1)
        self.p = model.init(self.c, seed=5)
        g = torch.Generator().manual_seed(6)
        self.p["conv_bias"] = torch.randn(self.p["conv_bias"].shape, generator=g) * 0.3
        self.docs = [torch.cat([torch.tensor([1]), torch.randint(5, 96, (n,), generator=g)]) for n in (40, 101, 30)]

    @torch.no_grad()
    def logits(self, ids):
        return export.ours(self.c, self.p, ids[None])

    def test_the_same_logits_as_transformers(self):
        from transformers import FalconH1Config, FalconH1ForCausalLM

        theirs = FalconH1ForCausalLM(FalconH1Config(**model.hf_config(self.c))).float().eval()
        missing = theirs.load_state_dict(model.export(self.c, self.p))
        self.assertFalse(missing.missing_keys or missing.unexpected_keys)
        with torch.no_grad():
            want = theirs(self.docs[1][None]).logits[0]
        got = self.logits(self.docs[1])
        self.assertLess((got - want).abs().max().item(), 1e-4 * want.std().item())

    def test_packed_documents_do_not_see_each_other(self):
        packed = self.logits(torch.cat(self.docs))
        alone = torch.cat([self.logits(doc) for doc in self.docs])
        self.assertLess((packed - alone).abs().max().item(), 1e-4 * alone.std().item())
        joined = torch.cat(self.docs)
        joined[len(self.docs[0])] = 7  # without its begin-of-text token the second document sees the first
        self.assertGreater((self.logits(joined) - alone)[len(self.docs[0]) + 1 :].abs().max().item(), 0.05 * alone.std().item())


if __name__ == "__main__":
    unittest.main()
