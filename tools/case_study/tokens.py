"""Reads what the studies need of tokens without a package: the texts of a byte-level BPE's tokens, and llm.c shards of uint16."""

import array
import json
import sys

SHARD_HEADER_BYTES = 1024


def byte_alphabet():
    """The printable character that stands for each byte in a byte-level tokenizer.json (GPT-2's choice)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    characters = {byte: chr(byte) for byte in printable}
    for byte in range(256):
        if byte not in characters:
            characters[byte] = chr(256 + len(characters) - len(printable))
    return characters


class Tokens:
    """Texts of a tokenizer's tokens, by number, and back."""

    def __init__(self, path):
        byte_of = {character: byte for byte, character in byte_alphabet().items()}
        vocabulary = json.loads(path.read_text(encoding="utf-8"))["model"]["vocab"]
        self.texts = [""] * len(vocabulary)
        for spelled, number in vocabulary.items():
            self.texts[number] = bytes(byte_of[character] for character in spelled).decode("utf-8", "replace")
        self.numbers = {text: number for number, text in enumerate(self.texts)}

    def number(self, text):
        """Of the token with this text; None where no single token has it."""
        return self.numbers.get(text)


def read_shard(path):
    tokens = array.array("H")
    tokens.frombytes(path.read_bytes()[SHARD_HEADER_BYTES:])
    if sys.byteorder != "little":
        tokens.byteswap()
    return tokens
