#!/usr/bin/env python3
"""Make tokenizer.json and expected.json beside this file: what the Python package `tokenizers` makes of some texts.

    python3 -m venv /tmp/tokenizers && /tmp/tokenizers/bin/pip install tokenizers==0.23.3
    /tmp/tokenizers/bin/python tests/data/tokenizer/make.py
"""

import json
import pathlib

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

HERE = pathlib.Path(__file__).parent

TRAINING_TEXT = [
    "The quick brown fox jumps over the lazy dog, and the dog doesn't mind; they're old friends.",
    "A tensor of shape [batch, position, width] holds 1024 numbers at 16 bits each.",
    "I'll say what I've said: it's the weights that we'd like to take apart, aren't they?",
    "Größe, façade, naïve, Ελληνικά, Кириллица, 日本語, हिन्दी and العربية are words too.",
    "    indented\tlines\n\n  and  double  spaces   \n",
] * 3

TEXTS = [
    "",
    " ",
    "a",
    "The quick brown fox",
    "they're, it's, I'll, we'd, I've, I'm, don't, 'tis 'S 'RE",
    "  two leading and two trailing  ",
    "tabs\t\tand\nnew\n\nlines \n mixed \t ",
    "one  two   three    four",
    "1024 numbers, 3.14, x1y2, Ⅷ ½ ٣ 一2",
    "punctuation!?... ([{<>}]) --- \"quoted\" $5 #tag @me",
    "Größe façade naïve Ελληνικά Кириллица",
    "日本語 हिन्दी العربية 한국어",
    "emoji 🙂🙃 👨‍👩‍👧 and flags 🇩🇪",
    "no\u00a0break\u2003em\u3000ideographic\u0085next",
    "combining e\u0301 and a\u030a",
    "<|end|>",
    "before<|end|>after <|end|><|end|> <|pad|> <|end|",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "\x00\x01\x7f control",
    "ünïcödé'll x's  's",
    "\r\nwindows\r\nlines\r\n",
    "abababababab thethethe 'the'the",
]

tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
tokenizer.decoder = decoders.ByteLevel()
tokenizer.train_from_iterator(
    TRAINING_TEXT,
    trainers.BpeTrainer(
        vocab_size=400,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=["<|end|>"],
        show_progress=False,
    ),
)
tokenizer.add_tokens([AddedToken("<|pad|>", normalized=False), AddedToken("<|end|>x", normalized=False)])
(HERE / "tokenizer.json").write_text(tokenizer.to_str(pretty=False) + "\n", encoding="utf-8")

cases = []
for text in TEXTS:
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == text, text
    cases.append({"text": text, "ids": ids})
# Prefixes of a text's tokens: characters cut in two.
emoji = tokenizer.encode("🙂é日", add_special_tokens=False).ids
partial = [
    {"ids": emoji[:n], "text": tokenizer.decode(emoji[:n], skip_special_tokens=False)} for n in range(len(emoji) + 1)
]
expected = {"vocabulary_size": tokenizer.get_vocab_size(), "cases": cases, "partial": partial}
(HERE / "expected.json").write_text(json.dumps(expected, ensure_ascii=True, indent=1) + "\n", encoding="utf-8")
